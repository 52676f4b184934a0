"""Aliases move by compare-and-swap, remember every move, and never point at nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hub import ANY, Registry
from medley.errors import ConflictError, InvalidNameError, NotFoundError


@pytest.fixture
def pirate(registry: Registry, make_folder: Callable[..., Path]) -> Registry:
    """A registry with pirate:v1, v2 and v3."""
    for text in (b"1", b"2", b"3"):
        registry.publish("adapter", "pirate", make_folder({"f": text}))
    return registry


def moves(registry: Registry, alias: str) -> list[tuple[int | None, int | None]]:
    return [(move.from_number, move.to_number) for move in registry.alias_history("pirate", alias)]


def test_an_alias_moves_and_keeps_its_history(pirate: Registry) -> None:
    pirate.set_alias("pirate", "production", 1, expected=None)
    pirate.set_alias("pirate", "production", 3, expected=1)
    pirate.set_alias("pirate", "production", 3)
    pirate.set_alias("pirate", "production", 2, expected=ANY)
    assert pirate.get("pirate:production").number == 2
    pirate.remove_alias("pirate", "production", expected=2)
    assert moves(pirate, "production") == [(None, 1), (1, 3), (3, 2), (2, None)]
    times = [move.time for move in pirate.alias_history("pirate", "production")]
    assert times == sorted(times)
    with pytest.raises(NotFoundError, match=r"^'pirate' has no alias 'production'\. Its aliases: none; its"):
        pirate.get("pirate:production")


def test_a_move_that_expects_something_else_is_refused(pirate: Registry) -> None:
    pirate.set_alias("pirate", "production", 1)
    cases = {
        2: "The alias pirate:production points at v1, not at v2: somebody moved it. Look again and retry.",
        None: "The alias pirate:production points at v1, not absent: somebody moved it. Look again and retry.",
    }
    for expected, message in cases.items():
        with pytest.raises(ConflictError) as caught:
            pirate.set_alias("pirate", "production", 3, expected=expected)
        assert str(caught.value) == message
    with pytest.raises(ConflictError, match="The alias pirate:staging does not exist, not at v1"):
        pirate.set_alias("pirate", "staging", 3, expected=1)
    with pytest.raises(ConflictError):
        pirate.remove_alias("pirate", "production", expected=3)
    assert moves(pirate, "production") == [(None, 1)]
    assert moves(pirate, "staging") == []


def test_an_alias_needs_a_visible_version(pirate: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"^'pirate' has no version v4\. Its versions: v1, v2, v3\.$"):
        pirate.set_alias("pirate", "production", 4)
    pirate.remove("pirate:v3")
    with pytest.raises(NotFoundError, match=r"^pirate:v3 was removed\."):
        pirate.set_alias("pirate", "production", 3)
    with pytest.raises(NotFoundError, match=r"^There is no version named 'parrot'"):
        pirate.set_alias("parrot", "production", 1)
    with pytest.raises(NotFoundError, match=r"^'pirate' has no alias 'production'"):
        pirate.remove_alias("pirate", "production")
    for alias in ("latest", "v1", "Production"):
        with pytest.raises(InvalidNameError):
            pirate.set_alias("pirate", alias, 1)
        with pytest.raises(InvalidNameError):
            pirate.remove_alias("pirate", alias)
    assert pirate.alias_history("pirate", "production") == []
    with pytest.raises(NotFoundError, match=r"^There is no version named 'parrot'\.$"):
        pirate.alias_history("parrot", "production")


def test_latest_is_computed(pirate: Registry) -> None:
    pirate.remove("pirate:v3")
    assert pirate.get("pirate:latest").number == pirate.get("pirate").number == 2
    pirate.restore("pirate:v3")
    assert pirate.get("pirate:latest").number == 3


def test_aliases_are_shown_with_their_version(pirate: Registry) -> None:
    pirate.set_alias("pirate", "production", 2)
    pirate.set_alias("pirate", "best-of-may", 2)
    assert {version.number: version.aliases for version in pirate.versions("pirate")} == {
        3: (),
        2: ("best-of-may", "production"),
        1: (),
    }
