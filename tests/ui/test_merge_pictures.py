"""The pictures of a merge: the numbers that they show, the rank's cut, and that weights are read once."""

import gradio as gr
import pytest

from medley.ui import merge_form, merge_pictures
from medley.ui.merge_pictures import DIRECTION, KEPT, READ, WRITTEN, Spectrum
from medley.ui.workspace import Workspace
from tests.ui.conftest import assert_harmless

BOTH = ["left", "right"]


def drawn(workspace: Workspace, kind: str = DIRECTION, method: str = "linear", **keys: object) -> list:
    return merge_pictures.draw(workspace, kind, *merge_form.form_values(BOTH, [0.5, 0.5], method, {}, keys))


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    KEPT.clear()


def test_likeness_spectrum_layers_and_estimate(workspace: Workspace, adapters: tuple) -> None:
    likeness, spectrum, slider, layers, estimate, shown = drawn(workspace)
    assert likeness.count(">1.00</td>") == 2
    assert "Cosine of the changes" in likeness
    assert "of the entries; unrelated adapters: 50 %." in likeness
    assert (len(shown.energies), slider.maximum, slider.value, slider.interactive) == (8, 8, 0, True)
    assert merge_pictures.NO_CUT in spectrum
    assert "99 % at rank " in spectrum
    assert "share by rank" in spectrum
    assert ">100 %</span>" in spectrum
    assert "size of the change by layer" in layers
    assert "left:v1" in layers
    assert "less than a second once it has started, and about " in estimate
    for html in (likeness, spectrum, layers, estimate):
        assert_harmless(html)


@pytest.mark.parametrize(("kind", "text"), [(WRITTEN, "Shared output directions"), (READ, "Shared input directions")])
def test_the_other_kinds_of_likeness(workspace: Workspace, adapters: tuple, kind: str, text: str) -> None:
    likeness = drawn(workspace, kind)[0]
    assert text in likeness
    assert likeness.count(">1.00</td>") == 2


def test_the_rank_of_the_recipe_is_the_cut(workspace: Workspace, adapters: tuple) -> None:
    _, spectrum, slider, _, _, shown = drawn(workspace, rank="3")
    energies = shown.energies
    assert slider.value == 3
    assert (
        f"Rank 3 keeps {100 * energies[2]:.3g} % of the energy; error {100 * (1 - energies[2]) ** 0.5:.3g} %."
        in spectrum
    )
    assert drawn(workspace, rank="energy:0.9")[2].value == 0  # a share has no place on the slider, but in the picture
    assert "Rank " in drawn(workspace, rank="energy:0.9")[1]


def test_the_slider_cuts_without_reading_anything() -> None:
    html, rank = merge_pictures.cut(Spectrum([0.75, 0.96, 1.0]), 2)
    assert "Rank 2 keeps 96 % of the energy; error 20 %." in html
    assert "Of the energy: 90 % at rank 2, 95 % at rank 2, 99 % at rank 3." in html
    assert 'title="rank 2: energy kept 96 %, error 20 %"' in html
    assert rank == "2"
    assert merge_pictures.cut(Spectrum([0.75, 1.0]), 0)[1] == "auto"
    assert merge_pictures.NO_CUT in merge_pictures.cut(Spectrum([0.75, 1.0]), 0)[0]
    assert merge_pictures.cut(Spectrum(), 3)[1] == "3"  # nothing drawn yet, perhaps because the space needs a rank


def test_while_the_slider_moves_the_note_about_the_space_stays(workspace: Workspace, adapters: tuple) -> None:
    note = "Shown is the rule in space core; entry by entry the spectrum is longer."
    shown = drawn(workspace, method="ties", space="delta")[5]
    for rank in (0, 3):
        assert note in merge_pictures.cut(shown, rank)[0]
    assert note not in merge_pictures.cut(drawn(workspace, method="ties")[5], 3)[0]


def test_the_slider_s_rank_is_looked_at_at_once(workspace: Workspace, adapters: tuple) -> None:
    def form(rank: str) -> list:
        return merge_form.form_values(BOTH, [0.5, 0.5], "ties", {}, {"rank": rank, "space": "core", "seed": 7})

    for rank, text in ((3, "3"), (0, "auto")):
        looked = merge_pictures.look_cut(workspace, rank, *form("9"))
        assert looked == merge_form.look(workspace, *form(text))
        assert ("rank: 3" in looked[1]) == (rank == 3)


def test_in_a_compressed_space_the_slider_draws_anew(workspace: Workspace, adapters: tuple) -> None:
    def let_go(rank: int, **keys: object) -> list:
        values = merge_form.form_values(BOTH, [0.5, 0.5], "linear", {}, keys)
        return merge_pictures.draw_cut(workspace, DIRECTION, rank, *values)

    spectrum, slider, shown = (let_go(3, space="compressed")[i] for i in (1, 2, 5))
    assert "what compressing them loses is not in it" in spectrum
    assert (len(shown.energies), slider.value, slider.maximum) == (3, 3, 8)  # two of rank 4 share at most 8 axes
    without = let_go(0, space="compressed")  # there is no such space, says the preflight, and the slider can give one
    assert (without[5], without[2].interactive) == (Spectrum(), True)
    assert len(KEPT) == 1
    assert [each for i, each in enumerate(let_go(3)) if i != 2] == [gr.skip()] * 5
    assert let_go(3)[2].value == 3  # pictures that were being drawn meanwhile may have put it back
    assert len(KEPT) == 1


def test_weights_are_read_once_whatever_rank_is_looked_at(workspace: Workspace, adapters: tuple) -> None:
    for rank in ("auto", "2", "energy:0.5"):
        drawn(workspace, rank=rank)
    assert len(KEPT) == 1
    drawn(workspace, method="task_arithmetic")
    assert len(KEPT) == 2


def test_a_merge_that_is_refused_or_empty_has_no_pictures(workspace: Workspace, adapters: tuple) -> None:
    nothing = merge_pictures.draw(workspace, DIRECTION, *merge_form.form_values([], [], "linear", {}, {}))
    refused = merge_pictures.draw(workspace, DIRECTION, *merge_form.form_values(BOTH, [1.0, -1.0], "linear", {}, {}))
    for shown, why in ((nothing, merge_pictures.NOT_CHOSEN), (refused, merge_pictures.REFUSED)):
        assert all("m-blank" in shown[i] and why in shown[i] for i in (0, 1, 3))
        assert not shown[2].interactive
        assert shown[5] == Spectrum()
    assert len(KEPT) == 0


def test_one_adapter_has_a_spectrum_but_nothing_to_be_compared_with(workspace: Workspace, adapters: tuple) -> None:
    likeness, spectrum, *_ = merge_pictures.draw(
        workspace, DIRECTION, *merge_form.form_values(["left"], [1.0], "linear", {}, {})
    )
    assert merge_pictures.ALONE in likeness
    assert merge_pictures.NO_CUT in spectrum
    assert merge_form.ALONE in merge_form.look(workspace, *merge_form.form_values(["left"], [1.0], "linear", {}, {}))[0]
    assert (
        merge_form.ALONE not in merge_form.look(workspace, *merge_form.form_values(BOTH, [1, 1], "linear", {}, {}))[0]
    )


def test_dense_rules_say_that_the_spectrum_is_that_of_the_core(workspace: Workspace, adapters: tuple) -> None:
    assert "Shown is the rule in space core" in drawn(workspace, method="ties", space="delta")[1]
    assert "Shown is the rule in space core" not in drawn(workspace, method="ties")[1]
