"""What a conversion did, in numbers: per module the rank and the error."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merging.report import FILE_NAME, Measured, ModuleReport

__all__ = ["FILE_NAME", "ConvertReport"]


@dataclass(frozen=True)
class ConvertReport(Measured):
    """The whole conversion.

    Attributes:
        kind: what the adapter was: "loha", "dora", …
        rank, seed, dtype: as the options and their defaults had it.
        base_model, revision: what the adapter belongs to.
        modules: by name.
        saved: names of the tensors that went along unchanged.
        inputs: digests of the adapter's weights and, where they were read, of the base's.
        warnings: what a person should know of the result.
        out_dir, seconds: where it went and how long it took; not in the file, whose bytes depend on the result alone.
    """

    kind: str
    rank: str | int
    seed: int
    dtype: str
    base_model: str
    revision: str | None
    modules: Mapping[str, ModuleReport]
    saved: tuple[str, ...]
    inputs: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    out_dir: Path | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values; the same adapter, options and seed give the same ones."""
        values = {"method": "convert", **dataclasses.asdict(self)}
        del values["out_dir"], values["seconds"]
        return values | {"max_rank": self.max_rank, "energy_kept": self.energy_kept, "error": self.error}

    def to_json(self) -> str:
        """What is written beside the adapter."""
        return json.dumps(self.to_mapping(), indent=2, ensure_ascii=False) + "\n"
