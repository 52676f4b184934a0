"""What the registry notes of an adapter that we made: measured on the files themselves, before they are published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def adapter_facts(folder: Path) -> dict[str, Any]:
    """Kind, rank, targets, parameters and size of an adapter, which is checked again in full on the way.

    Raises:
        AdapterFormatError, ProblemsError: it is not one that the registry would accept.
    """
    from medley.lm.adapter_file import check_finite, open_adapter

    adapter = open_adapter(folder)
    check_finite(adapter)
    return {
        "peft_type": adapter.config.peft_type,
        "adapter_type": adapter.config.kind,
        "rank": max((module.rank for module in adapter.modules.values()), default=adapter.config.r) or None,
        "targets": sorted({name.rpartition(".")[2] for name in adapter.modules}),
        "parameters": adapter.parameter_count,
        "size_bytes": adapter.size_bytes,
        **({"adapter_kind": "reward"} if adapter.is_reward_model else {}),
    }


def common(values: Sequence[Any]) -> Any:
    """The value that all of them share, or None."""
    return values[0] if values and all(value == values[0] for value in values) else None
