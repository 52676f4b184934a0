"""What an extraction did, in numbers: per module the rank and the error, what was saved whole, what was left out."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merging.report import FILE_NAME, Measured, ModuleReport

__all__ = ["FILE_NAME", "ExtractReport"]


@dataclass(frozen=True)
class ExtractReport(Measured):
    """The whole extraction.

    Attributes:
        rank, others, seed, dtype: as the options and their defaults had it.
        base_model, revision: what the adapter belongs to.
        modules: by name; those that did not change are not there.
        unchanged: how many linear weights did not change.
        saved: names of the tensors that are kept whole.
        ignored: name of each changed tensor that is lost to the norm of its change.
        inputs: digests of the weights of `base` and `model`.
        warnings: what a person should know of the result.
        out_dir, seconds: where it went and how long it took; not in the file, whose bytes depend on the result alone.
    """

    rank: str | int
    others: str
    seed: int
    dtype: str
    base_model: str
    revision: str | None
    modules: Mapping[str, ModuleReport]
    unchanged: int
    saved: tuple[str, ...]
    ignored: Mapping[str, float]
    warnings: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    out_dir: Path | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)

    def with_inputs(self, digests: Mapping[str, str]) -> "ExtractReport":
        """The same report, with the digests of what went in."""
        return dataclasses.replace(self, inputs=digests)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values; the same models, options and seed give the same ones."""
        values = {"method": "extract", **dataclasses.asdict(self)}
        del values["out_dir"], values["seconds"]
        return values | {"max_rank": self.max_rank, "energy_kept": self.energy_kept, "error": self.error}

    def to_json(self) -> str:
        """What is written beside the adapter."""
        return json.dumps(self.to_mapping(), indent=2, ensure_ascii=False) + "\n"
