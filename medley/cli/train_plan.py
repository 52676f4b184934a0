"""What a training would do, before it does it: its memory and time, its recipe; and the presets."""

from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import json_option, print_facts, print_json, print_table, size_text
from trainers import PRESETS, TRAINERS

if TYPE_CHECKING:
    from hub import Registry
    from medley.jobs import JobSpec
    from trainers.estimate import Estimate

UNITS = (("d", 86400, 2 * 86400), ("h", 3600, 3600), ("min", 60, 60), ("s", 1, 0))  # with the least they are taken for


def show_plan(registry: "Registry", spec: "JobSpec", *, as_json: bool) -> None:
    """Print the estimate of a training and the recipe that would be kept beside its adapter.

    Raises:
        BaseModelError: the base is not on this machine yet.
    """
    from medley.jobs import spec_estimate
    from medley.jobs.estimate import libraries_bytes
    from medley.jobs.memory import total_memory
    from medley.jobs.run_train import recipe_of, recipe_text

    found, has = spec_estimate(registry, spec), total_memory(spec.params["device"])
    libraries = round(libraries_bytes(spec.params["options"]["num_processes"]))
    if as_json:
        known = {"memory_bytes": has, "libraries_bytes": libraries}
        print_json({"estimate": estimate_json(found), **known, "recipe": recipe_of(spec)})
        return
    parts = {"libraries": libraries, **found.parts}
    rows = [(name, size_text(size)) for name, size in parts.items() if size]
    print_table(["memory at the peak", ""], [*rows, ("total", size_text(sum(parts.values())))])
    click.echo()
    print_facts(
        {
            "this machine has": size_text(has) if has else None,
            "optimizer steps": found.steps,
            "longest row": f"about {found.longest_row:,} tokens",
            "time": time_range(found),
            "time is from": found.basis,
        }
    )
    click.echo(f"\n{recipe_text(spec)}", nl=False)


def estimate_json(estimate: "Estimate") -> dict[str, Any]:
    """An estimate as JSON."""
    names = ("steps", "longest_row", "seconds", "basis")
    values = {name: getattr(estimate, name) for name in names}
    return {"parts": dict(estimate.parts), "total_bytes": estimate.total_bytes, **values}


def time_range(estimate: "Estimate") -> str | None:
    """`3 to 12 min`, `1.1 to 4.6 d`, or None where nothing is known."""
    if estimate.seconds is None:
        return None
    low, high = estimate.seconds
    unit, size = next((unit, size) for unit, size, least in UNITS if high >= least)
    return f"{_two_digits(low / size)} to {_two_digits(high / size)} {unit}"


def _two_digits(number: float) -> str:
    return f"{number:.2g}" if number < 99.5 else f"{number:,.0f}"


@click.command("presets")
@json_option
def presets(as_json: bool) -> None:
    """The starting values that --preset takes, and where they come from."""
    if as_json:
        found = {
            name: {"summary": each.summary, "values": each.values, "sources": each.sources}
            for name, each in PRESETS.items()
        }
        print_json(found)
        return
    for name, preset in PRESETS.items():
        click.echo(f"{name}: {preset.summary}")
        for trainer in TRAINERS:
            values = "  ".join(f"{option}={value}" for option, value in preset.values.get(trainer, {}).items())
            click.echo(f"  {trainer}  {values or 'its defaults'}")
            click.echo(f"    from {preset.sources[trainer]}")
