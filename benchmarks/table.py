"""The one shape of a benchmark's result: a heading, what was measured, and a table of ratios against the peer."""

from collections.abc import Mapping


def print_ratio_table(
    title: str, setting: str, *, unit: str, values: Mapping[str, float], peer: str, goal: str = ""
) -> None:
    """Print a Markdown section with a row for each contender, as a ratio of the peer's value.

    Args:
        title: the section's heading.
        setting: what was run, in a sentence or two.
        unit: of the values.
        values: contender -> measured value.
        peer: the contender whose ratio is 1.
        goal: what was aimed at, in words; printed under the table.
    """
    print(f"## {title}\n\n{setting}\n")
    print(f"| contender | {unit} | ratio |\n|---|---:|---:|")
    for name, value in values.items():
        print(f"| {name} | {value:.4g} | {value / values[peer]:.2f}x |")
    print(f"\nGoal: {goal}.\n" if goal else "")
