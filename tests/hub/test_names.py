"""Which names, aliases and references are possible; every bad one is refused with one line that says why."""

import pytest

from hub import Registry
from hub.names import Reference, check_alias, check_name, parse_reference
from medley.errors import InvalidNameError

ID = "3f2a91bc" * 8
BAD_NAMES = {
    "parent folder": "../x",
    "absolute path": "/abs",
    "folder and file": "a/b",
    "backslash": "a\\b",
    "dot": ".",
    "two dots": "..",
    "empty": "",
    "300 characters": "a" * 300,
    "97 characters": "a" * 97,
    "NUL": "a\x00b",
    "newline inside": "a\nb",
    "newline at the end": "pirate\n",
    "space": "my adapter",
    "Windows device": "CON",
    "Windows device in lower case": "con",
    "Windows device with extension": "nul.adapter",
    "Windows port": "com1",
    "Windows printer": "lpt9.x",
    "trailing dot": "pirate.",
    "double dash": "a--b",
    "leading dash": "-rf",
    "leading dot": ".hidden",
    "right-to-left override": "pirate\u202etxt",
    "zero-width space": "pi\u200brate",
    "Cyrillic look-alike": "pir\u0430te",
    "composed accent (NFC)": "caf\u00e9",
    "separate accent (NFD)": "cafe\u0301",
    "differs only in case": "Pirate",
    "colon": "pirate:v1",
    "id prefix word": "sha256",
    "a whole id": ID,
    "fullwidth digit": "v\uff11",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_bad_names_are_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_name(name)
    message = str(caught.value)
    assert message.isprintable()
    assert message.isascii()
    assert len(message) < 200


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_a_bad_name_writes_nothing(registry: Registry, make_folder: object, name: str) -> None:
    before = sorted(registry.home.rglob("*"))
    with pytest.raises(InvalidNameError):
        registry.publish("adapter", name, make_folder())
    assert sorted(registry.home.rglob("*")) == before
    assert registry.list() == []


@pytest.mark.parametrize(
    "name", ["a", "0", "pirate", "sql-v2.1_final", "a" * 96, "a..b", "console", "com10", "nulls.x"]
)
def test_good_names(name: str) -> None:
    check_name(name)


def test_the_messages_say_which_rule() -> None:
    expected = {
        "": "The name is empty. Use lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit.",
        "Pi\u200brate": "The name 'Pi\\u200brate' cannot be used. "
        "Use lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit.",
        "a--b": "The name 'a--b' cannot be used: it has '--' in it or ends in '.'.",
        "aux.v1": "The name 'aux.v1' cannot be used: Windows reserves it for a device.",
        "b" * 97: f"The name '{'b' * 40}...' has 97 characters; at most 96 are allowed.",
        "sha256": "The name 'sha256' looks like a content id. Choose another one.",
    }
    for name, message in expected.items():
        with pytest.raises(InvalidNameError) as caught:
            check_name(name)
        assert str(caught.value) == message


@pytest.mark.parametrize("alias", ["v1", "v007", "latest", "Prod", "a/b", "", "v" + "9" * 30, "nul", "x" * 97])
def test_bad_aliases(alias: str) -> None:
    with pytest.raises(InvalidNameError):
        check_alias(alias)


def test_alias_messages() -> None:
    with pytest.raises(
        InvalidNameError, match=r"^The alias 'latest' is reserved: it always means the newest version\.$"
    ):
        check_alias("latest")
    with pytest.raises(InvalidNameError, match=r"^The alias 'v2' looks like a version number\."):
        check_alias("v2")
    check_alias("v2-candidate")


def test_references() -> None:
    assert parse_reference("pirate") == Reference("pirate")
    assert parse_reference("pirate:latest") == Reference("pirate")
    assert parse_reference("pirate:v12") == Reference("pirate", number=12)
    assert parse_reference("pirate:production") == Reference("pirate", alias="production")
    assert parse_reference("sha256:3f2a91bc") == Reference(id_prefix="3f2a91bc")
    assert parse_reference(f"sha256:{ID}") == parse_reference(ID) == Reference(id_prefix=ID)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("sha256:3f2a91b", "'sha256:3f2a91b' is not an id: give 8 to 64 of its digits (0-9, a-f)."),
        ("sha256:3F2A91BC", "'sha256:3F2A91BC' is not an id: give 8 to 64 of its digits (0-9, a-f)."),
        ("sha256:%_%_%_%_", "'sha256:%_%_%_%_' is not an id: give 8 to 64 of its digits (0-9, a-f)."),
        ("pirate:v0", "'pirate:v0' names no version: versions are written pirate:v1, pirate:v2, ..."),
        ("pirate:v03", "'pirate:v03' names no version: versions are written pirate:v1, pirate:v2, ..."),
        (
            "a/b:v1",
            "The name 'a/b' cannot be used. "
            "Use lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit.",
        ),
    ],
)
def test_bad_references(reference: str, message: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        parse_reference(reference)
    assert str(caught.value) == message
