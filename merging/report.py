"""What a merge did, in numbers: per module the rank, the energy kept and the error; the inputs with their digests."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE_NAME = "merge_report.json"


@dataclass(frozen=True)
class InputReport:
    """One adapter that went in.

    Attributes:
        name: as in the recipe that is saved beside the report.
        sha256, config_sha256: of its weights file and its configuration.
        modules: how many modules it touches.
        max_rank: the largest rank among them.
    """

    name: str
    sha256: str
    config_sha256: str
    modules: int
    max_rank: int


@dataclass(frozen=True)
class ModuleReport:
    """One module of the result.

    Attributes:
        rank: 0 where everything cancelled.
        energy_kept: the share of ‖ΔW‖² that the cut to this rank kept, in [0, 1]; in space compressed, the share of
            the adapters' Σ‖ΔWᵢ‖² that the shared axes hold.
        error: ‖ΔW − written‖ / ‖ΔW‖, cut and cast to the file's dtype included.
        norm: ‖ΔW‖.
    """

    rank: int
    energy_kept: float
    error: float
    norm: float


class Measured:
    """A report over modules, and what their numbers come to together."""

    modules: Mapping[str, ModuleReport]

    @property
    def max_rank(self) -> int:
        return max((module.rank for module in self.modules.values()), default=0)

    @property
    def energy_kept(self) -> float:
        """The share of Σ‖ΔW‖² over all modules that the cut kept."""
        total = math.fsum(module.norm**2 for module in self.modules.values())
        kept = math.fsum(module.energy_kept * module.norm**2 for module in self.modules.values())
        return kept / total if total else 1.0

    @property
    def error(self) -> float:
        """√(Σ‖ΔW − written‖² / Σ‖ΔW‖²) over all modules."""
        total = math.fsum(module.norm**2 for module in self.modules.values())
        squares = math.fsum((module.error * module.norm) ** 2 for module in self.modules.values())
        return math.sqrt(squares / total) if total else 0.0


@dataclass(frozen=True)
class MergeReport(Measured):
    """The whole merge.

    Attributes:
        method, variant, space, rank, seed, dtype: as the recipe and its defaults had it; space is None where the
            method needs none.
        base_model, revision: what the adapters belong to.
        inputs: the adapters, in the order of the recipe.
        modules: by name.
        warnings: what a person should know of the result.
        out_dir, seconds: where it went and how long it took; not in the file, whose bytes depend on the result alone.
    """

    method: str
    variant: str
    space: str | None
    rank: str | int
    seed: int
    dtype: str
    base_model: str
    revision: str | None
    inputs: tuple[InputReport, ...]
    modules: Mapping[str, ModuleReport]
    warnings: tuple[str, ...] = ()
    out_dir: Path | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values; the same inputs, recipe and seed give the same ones."""
        values = asdict(self)
        del values["out_dir"], values["seconds"]
        return values | {"max_rank": self.max_rank, "energy_kept": self.energy_kept, "error": self.error}

    def to_json(self) -> str:
        """What is written beside the adapter."""
        return json.dumps(self.to_mapping(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "MergeReport":
        """The report that `to_json` wrote."""
        values = json.loads(text)
        for derived in ("max_rank", "energy_kept", "error"):
            values.pop(derived)
        inputs = tuple(InputReport(**each) for each in values.pop("inputs"))
        modules = {name: ModuleReport(**each) for name, each in values.pop("modules").items()}
        return cls(**{**values, "inputs": inputs, "modules": modules, "warnings": tuple(values["warnings"])})
