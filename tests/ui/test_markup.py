"""Whatever is written in names, texts and rows reaches the page as text; numbers read as people write them."""

from collections.abc import Callable

import pytest

from medley.ui import markup
from medley.ui.lineage_picture import lineage_picture
from medley.ui.numbers import count_text, duration_text, number_text, plural, relative_time, size_text
from tests.ui.conftest import HOSTILE, assert_harmless


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "make",
    [
        markup.escape,
        markup.chip,
        markup.digest,
        lambda text: markup.notice("bad", text),
        lambda text: markup.empty(text, text),
        lambda text: markup.section(text, ""),
        lambda text: markup.page_head(text, text),
        lambda text: markup.link("registry", text, {"name": text}),
        lambda text: markup.action(text, "job", text),
        lambda text: markup.table([text], [[markup.escape(text)]]),
        lambda text: markup.code_block(text),
        lambda text: markup.progress_bar(0.5, text),
        lambda text: markup.chip("ok", title=text),
    ],
)
def test_no_text_becomes_markup(make: Callable[[str], str], text: str) -> None:
    html = make(text)
    assert_harmless(html)
    assert "&lt;" in html or "!" in html  # the text is there all the same


def test_the_check_of_harm_can_fail() -> None:
    for text in HOSTILE[:5]:
        with pytest.raises(AssertionError):
            assert_harmless(f"<p>{text}</p>")


def test_a_link_stays_inside_the_app_and_keeps_its_query() -> None:
    html = markup.link("registry", "pirate:v3", {"name": "pirate:v3", "x": 'a&"b'})
    assert html == '<a href="./registry?name=pirate%3Av3&amp;x=a%26%22b">pirate:v3</a>'


def test_a_digest_shows_eight_characters_and_copies_all() -> None:
    identity = "3f2a" * 16
    html = markup.digest(identity)
    assert f'data-copy="{identity}"' in html
    assert ">3f2a3f2a</code>" in html


def test_progress_is_said_to_those_who_cannot_see_it() -> None:
    assert 'aria-valuenow="25"' in markup.progress_bar(0.25, "Training")
    assert 'aria-valuenow="100"' in markup.progress_bar(7.0, "Training")
    assert "aria-valuenow" not in markup.progress_bar(None, "Training")


def test_states_have_a_colour_and_a_word() -> None:
    tones = {word: markup.chip(word) for word in ("ok", "warning", "refused", "running", "queued", "done", "failed",
                                                  "stopped", "lost")}  # fmt: skip
    assert all(f">{word}</span>" in html for word, html in tones.items())
    assert "m-good" in tones["done"]
    assert "m-bad" in tones["failed"]
    assert "m-warn" in tones["lost"]
    assert "m-plain" in tones["queued"]


def test_numbers_carry_their_units() -> None:
    assert [size_text(size) for size in (0, 512, 1500, 36_400_000, 1.25e9, 123e9)] == [
        "0 B", "512 B", "1.5 kB", "36.4 MB", "1.25 GB", "123 GB"]  # fmt: skip
    assert [duration_text(seconds) for seconds in (0.4, 40, 60, 125, 3600, 3700, 90_000, 1_000_000)] == [
        "0 s", "40 s", "1 min", "2 min 5 s", "1 h", "1 h 1 min", "1 d 1 h", "11 d"]  # fmt: skip
    assert [count_text(count) for count in (7, 1204, 134_515_008)] == ["7", "1,204", "135 M"]
    assert [plural(count, "row") for count in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert [number_text(value) for value in (None, float("nan"), 0, 2e-4, 1.2345678, 0.5, 1e-5)] == [
        "–", "–", "0", "2e-4", "1.235", "0.5", "1e-5"]  # fmt: skip
    assert [relative_time(1000 - ago, now=1000) for ago in (3, 59, 60, 7200, 200_000)] == [
        "just now", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]  # fmt: skip


def test_lineage_goes_from_left_to_right_and_leaves_out_the_obvious(adapters: tuple, registry: object) -> None:
    from hub import Parent

    left, right = adapters
    base = registry.parents(left.id)[0][1]
    merged = registry.publish(
        "adapter", "merged", left.path, base=left.base,
        parents=[Parent(base.id, "base"), Parent(left.id, "input"), Parent(right.id, "input")],
    )  # fmt: skip
    html = lineage_picture(registry.lineage(merged.label))
    assert html.count("<rect") == 4
    assert html.count("<path") == 4  # base -> left, base -> right, left -> merged, right -> merged; not base -> merged
    assert html.index("tiny-base:v1") < html.index("left:v1") < html.index("merged:v1")
    assert '<a href="./registry?name=merged%3Av1" class="m-here">' in html
