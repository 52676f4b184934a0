"""A full model's weights as a stream: read block by block, written shard by shard, never whole in memory.

A tensor that does not change is copied by the kernel, file to file; of one that does, a few megabytes are in memory
at a time. What a folder holds is read in `model_file.py`.
"""

import errno
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch

from medley.errors import BaseModelError
from medley.lm.base_folder import INDEX_FILE
from medley.lm.model_file import DTYPE_OF, NewTensor, StoredTensor

BLOCK_ELEMENTS = 1 << 18  # 1 MB in float32: stays in the processor's cache from reading to writing
COPY_BYTES = 1 << 24
NO_KERNEL_COPY = (errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)
Content = StoredTensor | Iterable[torch.Tensor]


def read_blocks(tensor: StoredTensor) -> Iterator[tuple[int, torch.Tensor]]:
    """(first row, block) of a tensor of floats: whole rows, in float32 (float64 stays what it is).

    A vector counts as one column, so that its blocks are vectors too. Each block may be changed; it is not kept.

    Raises:
        BaseModelError: the file is shorter than it was.
    """
    stored = getattr(torch, DTYPE_OF[tensor.dtype])
    columns = math.prod(tensor.shape[1:])
    rows_at_once = max(1, BLOCK_ELEMENTS // max(columns, 1))
    rows = tensor.shape[0] if tensor.shape else 1
    with tensor.path.open("rb", buffering=0) as file:
        file.seek(tensor.start)
        for first in range(0, rows, rows_at_once):
            shape = (min(rows_at_once, rows - first), *tensor.shape[1:])
            raw = torch.empty(math.prod(shape) * stored.itemsize, dtype=torch.uint8)
            if not _fill(file, raw):
                raise BaseModelError(f"{tensor.path.name} changed while it was being read.")
            block = raw.view(stored).view(shape)
            yield first, block if stored == torch.float64 else block.to(torch.float32)


def _fill(file: BinaryIO, raw: torch.Tensor) -> bool:
    """Read until `raw` is full; False when the file ends before."""
    view = memoryview(raw.numpy())
    while view:
        count = file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            return False
        view = view[count:]
    return True


def write_weights(
    folder: Path,
    tensors: Sequence[NewTensor],
    content: Callable[[str], Content],
    *,
    shard_bytes: int,
    threads: int = 1,
    written: Callable[[], None] = lambda: None,
) -> list[str]:
    """Write safetensors files, with an index where there are several; the same content gives the same bytes.

    Args:
        folder: gets model.safetensors, or model-00001-of-0000N.safetensors and the index.
        tensors: in the order in which they are to stand.
        content: of a name: a stored tensor whose bytes are taken as they are, or its blocks in order, in its dtype.
        shard_bytes: no file is larger, unless one tensor alone is.
        threads: so many tensors are written at a time, each to its own place; the bytes do not depend on it.
        written: called after each tensor.

    Returns:
        The files' names.
    """
    shards = _shards(tensors, shard_bytes)
    count = len(shards)
    names = [f"model-{place:05d}-of-{count:05d}.safetensors" for place in range(1, count + 1)]
    names = names if count > 1 else ["model.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("xb", buffering=0) as file:
            _write_shard(file.fileno(), shard, content, threads, written)
    if count > 1:
        weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": sum(each.size_bytes for each in tensors)}, "weight_map": weight_map}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return names


def _shards(tensors: Sequence[NewTensor], shard_bytes: int) -> list[list[NewTensor]]:
    shards: list[list[NewTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.size_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.size_bytes
    return shards


def _header(tensors: Sequence[NewTensor]) -> bytes:
    """The length and the JSON that a safetensors file begins with, padded so that the data is aligned."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.size_bytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_shard(
    file: int,
    tensors: Sequence[NewTensor],
    content: Callable[[str], Content],
    threads: int,
    written: Callable[[], None],
) -> None:
    header = _header(tensors)
    _write_all(file, header, 0)
    ends = list(itertools.accumulate((tensor.size_bytes for tensor in tensors), initial=len(header)))
    os.ftruncate(file, ends[-1])
    with ThreadPoolExecutor(threads, "weights", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            places = zip(tensors, ends[:-1], strict=True)
            for job in [pool.submit(_write_tensor, file, place, tensor.name, content) for tensor, place in places]:
                job.result()
                written()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@torch.no_grad()
def _write_tensor(file: int, place: int, name: str, content: Callable[[str], Content]) -> None:
    source = content(name)
    if isinstance(source, StoredTensor):
        _copy(source, file, place)
        return
    for block in source:
        data = block.contiguous().view(-1).view(torch.uint8).numpy()
        _write_all(file, data, place)
        place += data.nbytes


def _write_all(file: int, data: Any, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, place)
        view, place = view[count:], place + count


def _copy(tensor: StoredTensor, target: int, place: int) -> None:
    """A tensor's bytes from its file to a place in the target."""
    with tensor.path.open("rb", buffering=0) as source:
        for start in range(tensor.start, tensor.end, COPY_BYTES):
            done, length = 0, min(tensor.end - start, COPY_BYTES)
            while done < length:
                count = _copy_some(source.fileno(), start + done, length - done, target, place + done)
                if not count:
                    raise BaseModelError(f"{tensor.path.name} changed while it was being read.")
                done += count
            place += length


def _copy_some(source: int, start: int, length: int, target: int, place: int) -> int:
    """How many bytes were copied: inside the kernel where it can, else through memory."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, length, offset_src=start, offset_dst=place)
        except OSError as error:
            if error.errno not in NO_KERNEL_COPY:
                raise
    data = os.pread(source, length, start)
    _write_all(target, data, place)
    return len(data)
