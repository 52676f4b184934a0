"""Zip archives from elsewhere: each trick is its own sentence, and an honest archive comes out as it went in."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Registry
from hub.archive import open_archive, write_archive
from hub.intake import import_adapter
from medley.errors import AdapterFormatError, UserError
from tests.lm.adapter_writing import write_adapter


@pytest.fixture
def good(tmp_path: Path) -> dict[str, bytes]:
    folder = write_adapter(tmp_path / "good")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(autouse=True)
def nothing_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The temporary folder is empty afterwards, and nothing appears above the test's own folder."""
    temporary = tmp_path / "deep" / "temporary"
    temporary.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []
    assert not any(path.name == "escaped" for path in tmp_path.rglob("*"))


def make_zip(path: Path, files: dict[str, bytes], extra: list[tuple[zipfile.ZipInfo, bytes]] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for info, data in extra or []:
            archive.writestr(info, data)
    return path


def refusal(registry: Registry, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        import_adapter(registry, path, "pirate")
    assert isinstance(caught.value, AdapterFormatError)
    assert registry.list() == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/escaped",
        "a/../../escaped",
        "..\\escaped",
        "C:\\escaped",
        "C:escaped",
        "./escaped",
        "a//escaped",
        "..",
        "escaped\x00.txt",
        "esc\naped",
        "x" * 300,
    ],
)
def test_a_path_that_leads_out(registry: Registry, tmp_path: Path, good: dict[str, bytes], name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    message = refusal(registry, make_zip(tmp_path / "p.zip", good, [(info, b"x")]))
    assert message.startswith("'p.zip' cannot be imported: the entry '")
    assert message.endswith("has a path that leads out of the archive or is no name.")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_link_or_a_device(registry: Registry, tmp_path: Path, good: dict[str, bytes], mode: int) -> None:
    info = zipfile.ZipInfo("README.md")
    info.external_attr = (mode | 0o777) << 16
    message = refusal(registry, make_zip(tmp_path / "p.zip", good, [(info, b"/etc/passwd")]))
    what = "a symbolic link. Put the file" if mode == stat.S_IFLNK else "a pipe, a socket or a device"
    assert message.startswith(f"'p.zip' cannot be imported: 'README.md' is {what}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    extra = [(zipfile.ZipInfo("adapter_config.json"), b"{}")]
    message = refusal(registry, make_zip(tmp_path / "p.zip", good, extra))
    assert message == "'p.zip' cannot be imported: 'adapter_config.json' is in it twice."


def test_names_that_differ_in_case_only(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    message = refusal(registry, make_zip(tmp_path / "p.zip", {**good, "LICENSE.md": b"1", "LICENSE.MD": b"2"}))
    assert "'LICENSE.MD' and 'LICENSE.md' differ in case only." in message


def test_an_archive_in_an_archive(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    inner = make_zip(tmp_path / "inner.zip", good).read_bytes()
    assert "'inner.zip' is not part of an adapter." in refusal(
        registry, make_zip(tmp_path / "p.zip", {"inner.zip": inner})
    )


def test_two_top_folders_and_a_deep_one(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    nested = {f"a/b/{name}": data for name, data in good.items()}
    with pytest.raises(UserError, match=r"'b/adapter_config\.json' is not part of an adapter"):
        import_adapter(registry, make_zip(tmp_path / "deep.zip", nested), "pirate")
    two = {f"a/{name}": data for name, data in good.items()} | {"b/README.md": b""}
    with pytest.raises(UserError, match=r"'a/adapter_config\.json' is not part of an adapter"):
        import_adapter(registry, make_zip(tmp_path / "two.zip", two), "pirate")


def patch(path: Path, at: int, data: bytes) -> Path:
    """Overwrite bytes counted from the start of the first entry in the archive's list."""
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02") + at
    content[start : start + len(data)] = data
    path.write_bytes(content)
    return path


def test_an_encrypted_entry(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    path = patch(make_zip(tmp_path / "p.zip", good), 8, struct.pack("<H", 1))
    assert refusal(registry, path).endswith("is encrypted. Make an archive without a password.")


def test_an_unusual_compression(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name, data in good.items():
            archive.writestr(name, data)
    assert refusal(registry, tmp_path / "p.zip").endswith("in an unusual way. Use plain zip (deflate).")


@pytest.mark.parametrize("claimed", [3, 10**6])
def test_a_size_that_is_not_true(registry: Registry, tmp_path: Path, good: dict[str, bytes], claimed: int) -> None:
    path = patch(make_zip(tmp_path / "p.zip", good), 24, struct.pack("<I", claimed))
    first = next(iter(good))
    assert refusal(registry, path).startswith(f"'{first}' in the archive is ")


def test_a_bomb_by_its_own_word(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    first = next(iter(good))
    path = patch(make_zip(tmp_path / "p.zip", {"adapter_model.safetensors": good[first]}), 24, b"\x00\x00\x00\xf0")
    message = "the entry 'adapter_model.safetensors' would unpack to 4,026,531,840 bytes, which no weights do."
    assert refusal(registry, path) == f"'p.zip' cannot be imported: {message}"


def test_a_bomb_that_hides_its_size(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    """100 MB of zeros that say they are 1,000 bytes: unpacking stops where the announced size ends."""
    path = make_zip(tmp_path / "p.zip", {"README.md": bytes(100 * 2**20), **good})
    patch(path, 24, struct.pack("<I", 1000))
    assert refusal(registry, path).startswith("'README.md' in the archive is damaged: ")


def test_42_zip_style_overlapping_entries(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    """Two entries of the list that point at the same bytes: the second's own header has another name."""
    path = make_zip(tmp_path / "p.zip", {"README.md": b"x" * 100, **good})
    content = path.read_bytes()
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    changed = bytearray(content)
    changed[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(changed)
    assert " in the archive is damaged: " in refusal(registry, path)


def test_a_million_entries_are_not_listed(registry: Registry, tmp_path: Path) -> None:
    record = (
        struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    )
    count = 1_000_000
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(record) * count, 4)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4 + len(record) * count, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "p.zip").write_bytes(b"PK\x03\x04" + record * count + end64 + locator + end)
    message = "'p.zip' cannot be imported: its list of entries has more than 4,194,304 bytes."
    assert refusal(registry, tmp_path / "p.zip") == message


def test_very_many_entries(registry: Registry, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "p.zip", {f"{index}": b"" for index in range(10_001)})
    assert (
        refusal(registry, path) == "'p.zip' cannot be imported: it holds 10,001 entries; at most 10,000 are accepted."
    )


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"PK\x05\x06" + bytes(5), b"PK\x03\x04" + b"\xff" * 500])
def test_rubbish(registry: Registry, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.zip").write_bytes(data)
    assert refusal(registry, tmp_path / "p.zip").startswith("'p.zip' is a damaged zip archive: ")


def test_a_tar_is_not_read(registry: Registry, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as archive:
        device = tarfile.TarInfo("adapter_config.json")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    assert refusal(registry, tmp_path / "p.tar.gz") == "'p.tar.gz' is neither a folder nor a zip archive."


def test_every_cut_of_an_archive_is_refused(registry: Registry, tmp_path: Path, good: dict[str, bytes]) -> None:
    data = make_zip(tmp_path / "p.zip", good).read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "p.zip").write_bytes(data[:length])
        refusal(registry, tmp_path / "p.zip")


def test_every_flipped_byte_is_refused_or_harmless(tmp_path: Path, good: dict[str, bytes]) -> None:
    """A changed archive either fails with our error or still gives some bytes; it never crashes."""
    data = make_zip(tmp_path / "p.zip", good).read_bytes()
    for index in range(len(data)):
        (tmp_path / "p.zip").write_bytes(data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :])
        try:
            with open_archive(tmp_path / "p.zip") as entries:
                for entry in entries:
                    with entry.open() as file:
                        while file.read(1 << 16):
                            pass
        except AdapterFormatError:
            pass


def test_writing_is_repeatable_and_plain(tmp_path: Path, good: dict[str, bytes]) -> None:
    files = {name: tmp_path / "good" / name for name in good}
    write_archive(tmp_path / "one.zip", files)
    write_archive(tmp_path / "two.zip", dict(reversed(files.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO((tmp_path / "one.zip").read_bytes())) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == good
        assert all(zlib.crc32(good[info.filename]) == info.CRC for info in archive.infolist())
