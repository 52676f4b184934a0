"""The verdicts of the merge benchmark: a table that says "yes" where it should say "no" is worse than none."""

import pytest

from benchmarks.merge import ALL, parse, section
from benchmarks.merge_case import Result, Row, bytes_text, ratio_text, seconds_text, table
from benchmarks.merge_inputs import llama_shapes
from benchmarks.merge_scaling import fitted_exponent


def test_a_goal_is_a_floor_or_a_ceiling_and_the_error_counts_too() -> None:
    assert Row("a", "≥ 10x", 10.0, 10).is_reached
    assert not Row("a", "≥ 10x", 9.99, 10).is_reached
    assert Row("a", "≤ 4x", 4.0, 4, is_floor=False).is_reached
    assert not Row("a", "≤ 4x", 4.01, 4, is_floor=False).is_reached
    assert Row("a", "≥ 10x", 12.0, 10, our_error=0.5000004, their_error=0.5).is_reached  # the same six digits
    assert not Row("a", "≥ 10x", 12.0, 10, our_error=0.500002, their_error=0.5).is_reached
    assert Row("a", "≥ 10x", 12.0, 10, our_error=0.505, their_error=0.5, most_error=1.01).is_reached
    assert not Row("a", "≥ 10x", 12.0, 10, our_error=0.50501, their_error=0.5, most_error=1.01).is_reached


def test_the_section_is_one_table_with_a_note_for_each_case() -> None:
    rows = [Row("sum", "≥ 10x", 1873.4, 10, ours="4 ms", theirs="7.5 s", our_error=0.25, their_error=0.25)]
    text = section({"exact": Result(rows, "Sixteen modules.")})
    assert text.splitlines()[2:] == [
        "| sum | ≥ 10x | 1873x | 4 ms | 7.5 s | 0.250000 | 0.250000 | yes |",
        "",
        "* `exact`: Sixteen modules.",
    ]
    assert table([Row("late", "≤ 4x", 4.5, 4, is_floor=False)]).endswith("| late | ≤ 4x | 4.5x |  |  | – | – | no |")


def test_numbers_are_written_in_units_that_suit_them() -> None:
    assert [ratio_text(each) for each in (0.1819, 2.345, 47.61, 1873.4)] == ["0.182x", "2.35x", "47.6x", "1873x"]
    assert [seconds_text(each) for each in (0.00381, 0.5, 7.555)] == ["3.81 ms", "500 ms", "7.55 s"]
    assert [bytes_text(each) for each in (84e6, 1.25e9)] == ["84 MB", "1.25 GB"]


def test_the_exponent_of_a_power_is_found() -> None:
    sizes = (2, 4, 8, 16, 32)
    assert fitted_exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert fitted_exponent(sizes, [7.0] * 5) == pytest.approx(0.0)


def test_the_synthetic_set_has_the_sizes_of_a_7b_model() -> None:
    shapes = llama_shapes(32)
    assert len(shapes) == 32 * 7
    assert {size for shape in shapes.values() for size in shape} == {4096, 11008, 14336}


def test_cases_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(parse([]).cases) == ALL
    assert parse(["--cases", "core,delta"]).cases == ["core", "delta"]
    with pytest.raises(SystemExit):
        parse(["--cases", "speed"])
    assert "there is no case speed; there are exact_linear, exact_slerp, whole_set," in capsys.readouterr().err
