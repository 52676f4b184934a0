"""The event file: whole lines only, by offset, whatever happens to the writer."""

import json
from pathlib import Path

from medley.events import EventLog, read_events


def test_events_come_back_in_order_and_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("progress", step=1, total=2, text="Training")
    first, offset = read_events(path)
    log.emit("metric", step=1, loss=0.5)
    second, end = read_events(path, offset)
    log.close()
    assert [(event["kind"], event["step"]) for event in first] == [("progress", 1)]
    assert [(event["kind"], event["loss"]) for event in second] == [("metric", 0.5)]
    assert read_events(path, end) == ([], end)


def test_a_line_in_the_making_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "metric", "step": 1}\n{"kind": "met')
    events, offset = read_events(path)
    assert [event["step"] for event in events] == [1]
    with path.open("ab") as file:
        file.write(b'ric", "step": 2}\n')
    assert [event["step"] for event in read_events(path, offset)[0]] == [2]


def test_a_damaged_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\x00\x00\x00\n{"kind": "metric", "step": 2}\n[1, 2]\n')
    assert [event["step"] for event in read_events(path)[0]] == [2]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("metric", step=1, loss=float("nan"))
    log.close()
    assert json.loads(path.read_text())["loss"] is None


def test_no_file_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "absent.jsonl", 7) == ([], 7)
