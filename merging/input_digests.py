"""What each input is, by content: its digests, made while the merge already works on it."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, AdapterFile, file_sha256
from merging.report import InputReport


class InputDigests:
    """The inputs' reports; asking for one waits until its files are read."""

    def __init__(self, futures: list[Future[InputReport]]) -> None:
        self.futures = futures

    def __getitem__(self, index: int) -> tuple[str, str]:
        """sha256 of one adapter's weights and configuration."""
        report = self.futures[index].result()
        return report.sha256, report.config_sha256

    def __len__(self) -> int:
        return len(self.futures)

    def reports(self) -> list[InputReport]:
        """All of them, in the order of the recipe."""
        return [each.result() for each in self.futures]


@contextmanager
def input_digests(adapters: Mapping[str, AdapterFile]) -> Iterator[InputDigests]:
    """The digests of these adapters, by the names that the report gives them; read by one further thread."""
    with ThreadPoolExecutor(1, "digests") as pool:
        try:
            yield InputDigests([pool.submit(_describe, name, adapter) for name, adapter in adapters.items()])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _describe(name: str, adapter: AdapterFile) -> InputReport:
    return InputReport(
        name=name,
        sha256=file_sha256(adapter.folder / WEIGHTS_FILE),
        config_sha256=file_sha256(adapter.folder / CONFIG_FILE),
        modules=len(adapter.modules),
        max_rank=max(module.rank for module in adapter.modules.values()),
    )
