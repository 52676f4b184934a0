"""How much memory there is for a training: of the machine or its container, or of the GPU."""

from pathlib import Path

CGROUP_FILES = (  # limit, use and statistics of a container's memory: control groups, second and first version
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)
CACHED = ("inactive_file", "total_inactive_file")  # files that were read and can be dropped at once


def total_memory(device: str) -> int | None:
    """Bytes of memory for a training on a device while nothing else runs; None on a GPU, which only torch can ask."""
    import psutil

    if device != "cpu":
        return None
    limits = [limit for limit, _ in _container()]
    return min([psutil.virtual_memory().total, *limits])


def free_memory(device: str) -> int:
    """Bytes that are free now; for CUDA torch asks the driver, which starts it."""
    import psutil

    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    left = [limit - used for limit, used in _container()]
    return min([psutil.virtual_memory().available, *left])


def _container() -> list[tuple[int, int]]:
    """(limit, use) in bytes for each control group that limits us; the use without files that can be dropped."""
    found = []
    for names in CGROUP_FILES:
        try:
            limit, used, statistics = (Path(name).read_text(encoding="ascii").strip() for name in names)
        except OSError:
            continue
        if limit.isdigit():  # "max" where there is none
            found.append((int(limit), int(used) - _cached(statistics)))
    return found


def _cached(statistics: str) -> int:
    """Bytes of the page cache that count as used and are not needed; those of the groups below where that is told."""
    numbers = {name: int(value) for name, value in (line.split() for line in statistics.splitlines())}
    return max(numbers.get(name, 0) for name in CACHED)
