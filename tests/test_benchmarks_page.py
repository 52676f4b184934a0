"""The page of benchmarks is written anew section by section; what one run does not measure stays."""

from benchmarks.all import sections_of

PAGE = "# Benchmarks\n\nMeasured.\n\n## Merge\n\n### Linear\n\nold\n\n## Preferences\n\nlong\n"


def test_a_run_replaces_its_own_sections_alone() -> None:
    old = sections_of(PAGE)
    assert old == {"## Merge": "## Merge\n\n### Linear\n\nold", "## Preferences": "## Preferences\n\nlong"}
    assert list((old | sections_of("## Merge\n\nnew\n\n## Panes\n\nfast\n")).values()) == [
        "## Merge\n\nnew",
        "## Preferences\n\nlong",
        "## Panes\n\nfast",
    ]
