"""An adapter or a model out of the registry: a folder or a zip that peft or transformers load, checked on the way.

It appears by one rename, so a killed export leaves at most a hidden temporary file beside the target; what is there
already is never overwritten.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hub.archive import write_archive
from hub.files import CHUNK_BYTES, open_plain
from hub.manifest import FileEntry
from hub.names import quoted
from hub.records import Version
from hub.registry import Registry
from medley.errors import ConflictError, StorageError

NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP)  # what FAT and some network drives answer


def export_version(registry: Registry, ref: str, out: Path, *, kind: str) -> Path:
    """The folder, or the zip where `out` ends in .zip, that now holds the version's files.

    Args:
        ref: its name, version, alias or id.
        kind: what it must be: an adapter, a model, …
        out: must not exist; its parent folder must.

    Raises:
        NotFoundError: there is no such version of that kind.
        ConflictError: `out` exists.
        StorageError: a damaged version, no space or no permission. Nothing is at `out` then.
    """
    version = registry.get(ref, kind=kind)
    out = out.absolute()
    if os.path.lexists(out):
        raise _taken(out)
    try:
        with tempfile.TemporaryDirectory(prefix=".medley-", dir=out.parent, ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / kind
            copy_checked(version, registry.files(version.id), folder)
            if out.suffix.lower() == ".zip":
                _publish_archive(folder, out)
            else:
                _publish_folder(folder, out)
    except OSError as error:
        raise StorageError(f"{version.label} was not exported to {quoted(str(out))}: {error.strerror}.") from error
    return out


def copy_checked(version: Version, files: Sequence[FileEntry], target: Path) -> None:
    """Copy a version's files into the new folder `target`; each must have the hash it was published with."""
    target.mkdir()
    for entry in files:
        copy = target / entry.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with open_plain(version.path / entry.path) as reader, copy.open("xb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                digest.update(chunk)
                writer.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise StorageError(f"{entry.path} of {version.label} is damaged. Run `medley registry verify`.")


def _publish_folder(folder: Path, out: Path) -> None:
    try:
        os.rename(folder, out)  # an empty folder that appeared meanwhile gives way, anything else does not
    except (FileExistsError, NotADirectoryError) as error:
        raise _taken(out) from error
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise _taken(out) from error
        raise


def _publish_archive(folder: Path, out: Path) -> None:
    """Write the zip, then link it to its name, which fails if somebody took that meanwhile (a rename would not)."""
    archive = folder.with_suffix(".zip")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    write_archive(archive, {name: folder / name for name in names})
    try:
        os.link(archive, out)
    except FileExistsError as error:
        raise _taken(out) from error
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        os.rename(archive, out)


def _taken(out: Path) -> ConflictError:
    return ConflictError(f"{quoted(str(out))} exists already. Choose another place; nothing is overwritten.")
