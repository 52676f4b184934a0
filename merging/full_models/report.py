"""What a merge of full models did: inputs by digest, the result's size, and whose arithmetic it was."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FullInput:
    """One input: its name in the saved recipe, and the sha256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class FullReport:
    """The whole merge.

    Attributes:
        method, seed: as in the recipe.
        mergekit: the version that did the arithmetic, in float32.
        dtype: of the result.
        donor: whose configuration and tokenizer the result has.
        inputs: in the order of the recipe.
        tensors, parameters, size_bytes: of the result.
        warnings: what a person should know of it.
        out_dir, seconds: where it went and how long it took; not in the file, whose bytes depend on the result alone.
    """

    method: str
    seed: int
    mergekit: str
    dtype: str
    donor: str
    inputs: tuple[FullInput, ...]
    tensors: int
    parameters: int
    size_bytes: int
    warnings: tuple[str, ...] = ()
    out_dir: Path | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values; the same inputs, recipe and seed give the same ones."""
        values = asdict(self)
        del values["out_dir"], values["seconds"]
        return values

    def to_json(self) -> str:
        """What is written beside the model."""
        return json.dumps(self.to_mapping(), indent=2, ensure_ascii=False) + "\n"
