"""What `medley merge --dry-run` shows: the inputs, how alike they are, what each rank keeps, and what it would take."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from medley.cli.output import count_of, print_facts, print_json, print_table, size_text
from medley.errors import ProblemsError

if TYPE_CHECKING:
    from medley.jobs.build_merge import MergePlan
    from merging import Diagnosis
    from merging.diagnosis.alikeness import Matrix

SHADES = " ░▒▓█"  # from 0 to 1
MOST_LAYERS = 8  # rows of the table of norms; of deeper adapters every second, third, … layer is shown


def show_plan(plan: "MergePlan", *, as_json: bool) -> None:
    """What a merge would do; problems end the program with 1, all of them at once.

    Raises:
        ProblemsError: the merge would be refused.
    """
    from medley.jobs.build_merge import diagnose_plan

    findings = plan.findings
    problems, diagnosis = list(findings.problems), None
    if not problems and plan.can_be_diagnosed:
        try:
            diagnosis = diagnose_plan(plan)
        except ProblemsError as error:  # inputs that hold NaN or Infinity; JSON has them beside what else is known
            problems = list(error.problems)
    if as_json:
        mappings = [document.to_mapping() for document in plan.documents]
        recipe = mappings[0] if len(mappings) == 1 else mappings
        about = findings.to_mapping() | {"problems": problems, "recipe": recipe}
        print_json(about | {"diagnosis": diagnosis.to_mapping() if diagnosis else None})
    else:
        for warning in findings.warnings:
            click.echo(f"Warning: {warning}")
        print_table(list(findings.input_columns), findings.input_rows())
    if problems:
        raise ProblemsError("the recipe", problems)
    if as_json:
        return
    if diagnosis is not None:
        _show(diagnosis, findings.estimated_bytes)
    elif findings.estimated_bytes:
        click.echo(
            f"\nThe result, {plan.documents[-1].makes}: {size_text(findings.estimated_bytes)}, {findings.dtype}."
        )
    click.echo("\nNothing stands in the way of this merge.")


def _show(diagnosis: "Diagnosis", result_bytes: int) -> None:
    if len(diagnosis.names) > 1:
        click.echo("\nCosine of the deltas: 1 pulls the same way, 0 is unrelated, below 0 they disturb each other.")
        _show_matrix(diagnosis.names, diagnosis.cosines)
        click.echo("\nShared directions, written / read: 1 is the same space, 0 are spaces that never meet.")
        _show_pairs(diagnosis.names, diagnosis.output_overlap, diagnosis.input_overlap)
    click.echo("\nSize of the deltas by layer.")
    _show_layers(diagnosis)
    if diagnosis.energy:
        click.echo("\nEvery module cut to a rank: what of the result is kept, and how far off the rest is.")
        _show_ranks(diagnosis)
    else:
        click.echo("\nThe result is zero: all weights are 0, or what goes in cancels. It would change nothing.")
    click.echo()
    print_facts(plan_facts(diagnosis, result_bytes))


def plan_facts(diagnosis: "Diagnosis", result_bytes: int) -> Mapping[str, str | None]:
    """The numbers of a diagnosis that are one line each."""
    conflict, cost = diagnosis.conflict, diagnosis.cost
    return {
        "opposed signs": f"{conflict.share:.1%} ± {conflict.standard_error:.1%} of the entries" if conflict else None,
        "note": "ranks and result are those of space core" if diagnosis.is_core_spectrum else None,
        "time": f"about {seconds_text(cost.seconds)} on this machine, {count_of(cost.workers, 'thread')}",
        "memory": f"about {size_text(cost.peak_bytes)} at most, the libraries not counted",
        "result": f"at most {size_text(result_bytes)}" if result_bytes else None,
    }  # fmt: skip


def seconds_text(seconds: float) -> str:
    """`0.3 s`, `12 s`, `4 min`."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _show_matrix(names: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    """A heat map in letters: each number with a bar as dark as it is large."""
    print_table(*_numbered(names, [[f"{value:+.2f} {shade(value)}" for value in row] for row in values]))


def shade(value: float) -> str:
    """Two letters as dark as the number's size."""
    return SHADES[min(len(SHADES) - 1, round(abs(value) * (len(SHADES) - 1)))] * 2


def _show_pairs(names: Sequence[str], written: "Matrix", read: "Matrix") -> None:
    places = range(len(names))
    cells = [["–" if i == j else f"{written[i][j]:.2f} / {read[i][j]:.2f}" for j in places] for i in places]
    print_table(*_numbered(names, cells))


def _numbered(names: Sequence[str], cells: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of a square table: names in front, numbers above, so that eight adapters fit."""
    numbers = [str(number) for number in range(1, len(names) + 1)]
    rows = [[number, name, *row] for number, name, row in zip(numbers, names, cells, strict=True)]
    return ["", "adapter", *numbers], rows


def _show_ranks(diagnosis: "Diagnosis") -> None:
    ranks = [(share, diagnosis.rank_for(share)) for share in (0.9, 0.95, 0.99)]
    rows = [(f"{share:.0%}", rank, f"{diagnosis.errors[rank - 1]:.1%}") for share, rank in ranks if rank]
    print_table(["energy", "rank", "error"], rows)


def _show_layers(diagnosis: "Diagnosis") -> None:
    step = -(-len(diagnosis.layers) // MOST_LAYERS)
    rows = [
        [layer.name, *(f"{norm:.3g}" for norm in layer.adapters), f"{layer.result:.3g}"]
        for layer in diagnosis.layers[::step]
    ]
    print_table(["layer", *map(str, range(1, len(diagnosis.names) + 1)), "result"], rows)
