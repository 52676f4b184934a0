"""The comparison of adapter types as a table and a picture; which types no other one beats."""

import re
from pathlib import Path

from hub import Registry, Version
from medley.jobs.type_report import REPORT_TYPE, TypeRow, write_report
from medley.ui import run_beside, train, types_form, version_view
from medley.ui.scatter import Spot, pareto, scatter
from medley.ui.type_report_view import rows_view
from medley.ui.workspace import Workspace


def row(adapter: str, eval_loss: float, forgetting: float) -> TypeRow:
    return TypeRow(
        adapter, eval_loss, 3.0, 0.5, forgetting, 0.01, 900_000_000, 75.0, 2_500_000, 1_200_000, 2e-4, 2.0, 30
    )


def test_the_line_joins_what_no_other_beats() -> None:
    spots = [Spot("a", 0.1, 2.0), Spot("b", 0.2, 1.5), Spot("worse", 0.3, 1.8), Spot("c", 0.4, 1.0)]
    assert [spot.name for spot in pareto(spots)] == ["a", "b", "c"]
    assert pareto([Spot("x", 1, 1), Spot("tie", 1, 1)]) == [Spot("x", 1, 1)]


def test_spots_stand_where_their_numbers_say() -> None:
    html = scatter([Spot("a", 0.0, 1.0), Spot("b<i>", 1.0, 0.0)], x_name="forgetting", y_name="loss")
    assert re.findall(r'style="left:([\d.]+)%;top:([\d.]+)%"', html) == [("0.0", "0.0"), ("100.0", "100.0")]
    assert 'd="M0.00 0.00L100.00 0.00L100.00 100.00"' in html
    assert "b&lt;i&gt;: loss 0, forgetting 1" in html
    assert "<i>" not in html


def test_one_type_alone_is_drawn() -> None:
    assert "nan" not in scatter([Spot("lora", 0.1, 2.0, 0.02)], x_name="forgetting", y_name="loss").lower()
    assert "Nothing compared" in rows_view([])


def test_the_table_has_units_and_errors() -> None:
    html = rows_view([row("lora", 1.5, 0.1), row("ia3", 2.0, -0.02)])
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert cells[:8] == ["<b>lora</b>", "1.5", "+0.100 ± 0.020", "50.0 %", "900 MB", "1 min 15 s", "2.5 MB", "1.2 M"]
    assert cells[10] == "-0.020 ± 0.020"


def test_a_reports_page_shows_it(workspace: Workspace, registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    write_report(folder / "report.json", [row("ia3", 2.0, 0.0), row("lora", 1.5, 0.1)], {})
    registry.publish("report", "types", folder, metadata={"report": REPORT_TYPE})
    html = version_view.card(workspace, workspace.version("types"))
    assert html.index("<b>lora</b>") < html.index("<b>ia3</b>")
    assert "Learning and forgetting" in html


def test_types_are_compared_from_the_page(workspace: Workspace, dataset: Version, base: Version) -> None:
    numbers = [each.default for each in types_form.numbers_of()]
    address, notice = types_form.start(workspace, "tiny-base", "sums", "types", ["lora", "ia3"], 4, *numbers[1:])
    assert notice == ""
    job_id = address.partition("job=")[2]
    workspace.jobs.stop(job_id, now=True)
    spec = workspace.jobs.spec(job_id)
    assert (spec.kind, spec.params["options"]["types"], spec.params["options"]["max_steps"]) == (
        "compare-types", ["lora", "ia3"], 4)  # fmt: skip
    assert "Compare lora, ia3 on sums:v1" in train.runs_card(workspace)
    assert run_beside.other_choices(workspace, job_id) == [("none", "")]


def test_what_is_wrong_with_a_comparison_is_said(workspace: Workspace, dataset: Version, base: Version) -> None:
    numbers = [each.default for each in types_form.numbers_of()]
    for data, name, picks, sentence in (
        ("", "types", ["lora"], "Choose a dataset of examples."),
        ("sums", " ", ["lora"], "Give the report a name"),
        ("sums", "types", [], "Name at least one type of lora"),
    ):
        address, notice = types_form.start(workspace, "tiny-base", data, name, picks, *numbers)
        assert (address, sentence in notice) == ("", True), notice
    assert workspace.jobs.list() == []


def test_a_visitor_compares_no_types(read_only: Workspace) -> None:
    numbers = [each.default for each in types_form.numbers_of()]
    assert "switched off here" in types_form.start(read_only, "tiny-base", "sums", "types", ["lora"], *numbers)[1]
