"""Pictures show the numbers they were given, stay small with many points, and say something without sight."""

import re

from medley.ui import charts
from medley.ui.charts import Mark, Series


def test_a_curve_runs_from_corner_to_corner() -> None:
    html = charts.line_chart([Series("loss", [(0, 4.0), (5, 3.0), (10, 2.0)])], x_name="step", y_name="loss")
    assert 'd="M0.00 0.00L50.00 50.00L100.00 100.00"' in html
    assert 'title="step 5: loss 3"' in html
    assert 'aria-label="loss over step: loss ends at 2"' in html


def test_two_curves_share_their_tooltips() -> None:
    html = charts.line_chart(
        [Series("loss", [(1, 2.0), (2, 1.0)]), Series("eval loss", [(2, 1.5)], "amber")], x_name="step", y_name="loss"
    )
    assert 'title="step 2: loss 1, eval loss 1.5"' in html
    assert html.count("m-key") == 2


def test_one_point_and_equal_points_are_drawn() -> None:
    assert "m-dots" in charts.line_chart([Series("loss", [(3, 1.0)])], x_name="step", y_name="loss")
    flat = charts.line_chart([Series("loss", [(1, 2.0), (2, 2.0)])], x_name="step", y_name="loss")
    assert "nan" not in flat.lower()


def test_no_points_say_so_and_holes_are_left_out() -> None:
    assert "No points yet." in charts.line_chart([Series("loss", [])], x_name="step", y_name="loss")
    html = charts.line_chart([Series("loss", [(1, float("nan")), (2, 1.0), (3, 2.0)])], x_name="step", y_name="loss")
    assert "nan" not in html.lower()


def test_long_runs_are_thinned_but_keep_their_ends() -> None:
    points = [(float(i), float(i)) for i in range(100_000)]
    thin = charts.thin_out(points)
    assert (len(thin), thin[0], thin[-1]) == (charts.MAX_POINTS, points[0], points[-1])


def test_a_mark_near_the_right_end_turns_its_word() -> None:
    series = [Series("energy", [(1, 0.5), (10, 1.0)])]
    assert "m-flag-left" in charts.line_chart(series, x_name="rank", y_name="share", marks=[Mark(10, "rank 10")])
    assert "m-flag-left" not in charts.line_chart(series, x_name="rank", y_name="share", marks=[Mark(2, "rank 2")])


def test_names_in_pictures_are_escaped() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    html = charts.line_chart([Series(hostile, [(1, 1.0), (2, 2.0)])], x_name=hostile, y_name=hostile)
    html += charts.heat_map([hostile], [[1.0]]) + charts.sparkline([1, 2], hostile)
    assert "<img" not in html


def test_ticks_are_round_and_enclose() -> None:
    assert charts.ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert charts.ticks(1.83, 4.21) == [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert charts.ticks(1, 3, whole=True) == [1, 2, 3]
    assert charts.ticks(5, 5)[0] <= 5 <= charts.ticks(5, 5)[-1]


def test_near_ticks_are_told_apart() -> None:
    near = charts.ticks(5.9432, 5.9441)
    assert [charts.tick_text(tick, near) for tick in near] == [
        "5.9432",
        "5.9434",
        "5.9436",
        "5.9438",
        "5.9440",
        "5.9442",
    ]
    assert charts.tick_text(0.5, [0.0, 0.5, 1.0]) == "0.5"
    assert charts.tick_text(2e-7, [0.0, 2e-7]) == "2e-7"


def test_another_run_is_dashed_and_keeps_its_colour() -> None:
    ours, theirs = Series("loss", [(1, 2.0), (2, 1.0)]), Series("loss, b", [(1, 3.0), (2, 2.0)], is_dashed=True)
    assert 'class="m-line m-teal m-dashed"' in charts.line_chart([ours, theirs], x_name="step", y_name="loss")
    assert charts.line_chart([ours, theirs], x_name="step", y_name="loss", is_low=True).count("m-key") == 0


def test_bars_are_as_high_as_their_counts() -> None:
    html = charts.bars([1, 4], [0, 10, 20], x_name="tokens", marks=[Mark(10, "longest row 10")])
    assert re.findall(r"height:([\d.]+)%", html) == ["25.0", "100.0"]
    assert 'title="10 to 20 tokens: 4"' in html
    assert "longest row 10" in html


def test_a_heat_map_shows_its_numbers() -> None:
    html = charts.heat_map(["a", "b"], [[1.0, -0.25], [-0.25, 1.0]])
    assert html.count(">1.00</td>") == 2
    assert '--share:25%" class="m-minus" title="b and a: -0.25">-0.25' in html
    assert 'class="m-self" title="a: 1.00"' in html


def test_a_heat_map_knows_no_minus_zero() -> None:
    html = charts.heat_map(["a", "b"], [[1.0, -0.004], [0.004, 1.0]])
    assert html.count('class="m-plus"') == 2
    assert "-0.00" not in html


def test_a_unit_stands_behind_every_number_of_the_curve() -> None:
    html = charts.line_chart([Series("kept", [(1, 50.0), (2, 100.0)])], x_name="rank", y_name="share", unit=" %")
    assert 'title="rank 1: kept 50 %"' in html
    assert ">60 %</span>" in html
    assert "kept ends at 100 %" in html


def test_a_sparkline_needs_two_values() -> None:
    assert "<path" not in charts.sparkline([1.0], "loss")
    assert 'aria-label="loss from 3 to 1"' in charts.sparkline([3.0, 2.0, 1.0], "loss")


def test_a_heat_map_of_many_has_numbers_above_its_columns() -> None:
    names = [f"adapter-{letter}" for letter in "abcdefgh"]
    html = charts.heat_map(names, [[1.0] * 8] * 8)
    assert [f">{i} adapter-{letter}</span>" in html for i, letter in enumerate("abcdefgh", start=1)] == [True] * 8
    assert 'title="adapter-a and adapter-h: 1.00"' in html
    assert all(f'<th scope="col"><span>{number}</span></th>' in html for number in range(1, 9))
    assert "m-many" in html
    assert "m-many" not in charts.heat_map(names[:3], [[1.0] * 3] * 3)
