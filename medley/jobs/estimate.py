"""Whether a training fits into this machine's memory, and how long it may take; told before it starts.

When it is submitted, against all the memory there is, from the text of the rows; when its worker starts, against what
is then free, from the tokens of the longest rows.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import BaseModelError, MemoryLimitError
from medley.jobs.device import core_count, likely_hardware
from medley.jobs.memory import free_memory, total_memory
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.corpus.row_lengths import Row
    from medley.lm.base_facts import BaseFacts
    from medley.lm.load import Device
    from trainers.estimate import Estimate

IMPORT_BYTES = 550e6  # what Python and the libraries take before a training begins


@dataclass(frozen=True)
class Plan:
    """A training whose options can still be turned.

    Attributes:
        trainer: its name.
        facts: the base's sizes.
        row_lengths: tokens of each training row.
        device: where it will run.
        has_init: whether it starts from an adapter.
    """

    trainer: str
    facts: "BaseFacts"
    row_lengths: Sequence[int]
    device: "Device"
    has_init: bool

    def estimate(self, options: Any) -> "Estimate":
        """What it needs with these options."""
        from medley.lm.load import Device
        from trainers.estimate import estimate

        quant = "4bit" if getattr(options, "quant", "none") == "4bit" else None
        return estimate(
            self.facts,
            options,
            self.trainer,
            self.row_lengths,
            Device(self.device.name, self.device.dtype, quant),
            cores=core_count(),
            has_init=self.has_init,
        )

    def check(self, options: Any, limit_bytes: float, limit_text: str) -> None:
        """Nothing, if it fits.

        Raises:
            MemoryLimitError: it does not; says how much it needs and what would help.
        """
        from trainers.fit_advice import advise

        libraries = libraries_bytes(options.num_processes) if self.device.name == "cpu" else 0  # else not on the GPU
        needed = self.estimate(options).total_bytes + libraries
        if needed <= limit_bytes:
            return
        advice = advise(self.estimate, options, limit_bytes - libraries, has_nf4=self.device.name in ("cuda", "cpu"))
        ways = "; ".join(f"{_settings(each.changes)} ({_gb(each.total_bytes + libraries)})" for each in advice)
        longest = max(self.row_lengths)
        raise MemoryLimitError(
            f"The training needs about {_gb(needed)} of memory, but {limit_text.format(_gb(limit_bytes))}. "
            f"The longest row has about {longest:,} tokens. "
            + (f"What would fit: {ways}. " if ways else "No setting of these options would fit; take a smaller base. ")
            + "To start it all the same: check_memory=false."
        )


def libraries_bytes(processes: int) -> float:
    """What Python and the libraries take in main memory; a worker that only waits for others has them as well."""
    return IMPORT_BYTES * (processes + (processes > 1))


def _settings(changes: Mapping[str, Any]) -> str:
    words = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in changes.items()]
    return " with ".join([words[0], *([", ".join(words[1:])] if words[1:] else [])])


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def training_estimate(
    registry: "Registry",
    trainer: str,
    *,
    base: str | None = None,
    data: str,
    init: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> "Estimate":
    """Peak memory and time of a training that is not started; arguments as in `train_spec`.

    Raises:
        ProblemsError: what is wrong with the training.
        BaseModelError: the base is not on this machine yet, so that its size is not known.
    """
    from medley.jobs.build import train_spec

    unchecked = {**(options or {}), "check_memory": False}
    spec = train_spec(registry, trainer, base=base, data=data, name="estimate", init=init, options=unchecked)
    return spec_estimate(registry, spec)


def spec_estimate(registry: "Registry", spec: JobSpec) -> "Estimate":
    """The same for a spec that `train_spec` made."""
    plan = _plan(registry, spec)
    if plan is None:
        raise BaseModelError("The base is not on this machine yet, so its size is known only once it is downloaded.")
    return plan.estimate(_options(spec))


def check_can_fit(registry: "Registry", spec: JobSpec) -> None:
    """Nothing, if the training could fit while nothing else runs, or if that cannot be known yet.

    Raises:
        MemoryLimitError: it could not.
    """
    plan, limit = _plan(registry, spec), total_memory(spec.params["device"])
    if plan is not None and limit is not None:
        plan.check(_options(spec), limit, "this machine has {}")


def check_fits_now(spec: JobSpec, base_dir: Path, data_dir: Path) -> None:
    """Nothing, if the training fits into what is free; asked by the worker, which may ask the device itself.

    Raises:
        MemoryLimitError: it does not.
    """
    from medley.corpus import read_rows
    from medley.corpus.row_lengths import counted_lengths
    from medley.lm.base_facts import read_base_facts
    from medley.lm.load import choose_device, load_tokenizer

    options = _options(spec)
    device = choose_device(options.quant, options.device)
    rows = _read_by(spec.params["trainer"], read_rows(data_dir, "train"))
    lengths = counted_lengths(rows, load_tokenizer(base_dir))
    plan = Plan(spec.params["trainer"], read_base_facts(base_dir), lengths, device, spec.params["init"] is not None)
    plan.check(options, free_memory(device.name), "only {} are free")


def _options(spec: JobSpec) -> Any:
    from medley.options import from_mapping
    from trainers import TRAINERS

    return from_mapping(TRAINERS[spec.params["trainer"]].options_class, spec.params["options"])


def _plan(registry: "Registry", spec: JobSpec) -> Plan | None:
    """The training as it looks before its worker starts, or None while the base is not on this machine."""
    params = spec.params
    facts = known_facts(registry, registry.get(f"sha256:{params['base']}"))
    lengths = _guessed_lengths(registry.get(f"sha256:{params['data']}").path, params["trainer"])
    hardware = likely_hardware(params["device"])
    return Plan(params["trainer"], facts, lengths, hardware, params["init"] is not None) if facts else None


def known_facts(registry: "Registry", base: "Version") -> "BaseFacts | None":
    """The base's sizes, or None while it is not on this machine."""
    from medley.jobs.bases import folder_at_hand
    from medley.lm.base_facts import BUNDLED_FACTS, read_base_facts

    folder = folder_at_hand(registry, base)
    if folder is not None:
        return read_base_facts(folder)
    return BUNDLED_FACTS if base.metadata.get("source") == "bundled" else None


@functools.lru_cache(maxsize=8)
def _guessed_lengths(data_dir: Path, trainer: str) -> Sequence[int]:
    from medley.corpus import read_rows
    from medley.corpus.row_lengths import guessed_lengths

    return guessed_lengths(_read_by(trainer, read_rows(data_dir, "train")))  # a version's folder never changes


def _read_by(trainer: str, rows: "Sequence[Row]") -> "Sequence[Row]":
    """What the trainer reads of the rows: prompts alone where it is made for prompts."""
    from medley.corpus.row_lengths import prompts_alone
    from trainers import TRAINERS

    return prompts_alone(rows) if TRAINERS[trainer].data_kinds[0] == "prompts" else rows
