"""Does a comparison of adapter types: each is trained and measured in a process of its own; one report comes out."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import JobError
from medley.jobs.base_names import identity_of
from medley.jobs.bases import base_folder
from medley.jobs.type_report import REPORT_FILE, REPORT_TYPE, TypeRow, write_report
from medley.jobs.work import JobStopped, JobWork

if TYPE_CHECKING:
    from trainers.trial_options import TrialOptions

NUMBERS_FILE = "numbers.json"


def run(work: JobWork) -> str:
    """The id of the report's version."""
    from hub import Parent
    from medley.options import from_mapping
    from trainers.trial_options import TrialOptions

    params = work.spec.params
    options = from_mapping(TrialOptions, params["options"])
    base, data = work.input(params["base"]), work.input(params["data"])
    places = {
        "base_dir": str(base_folder(work.registry, base, work.emit_or_stop)),
        "base_id": identity_of(base)[0],
        "data_dir": str(data.path),
        "texts": params["general"]["texts"],
    }
    rows = [TypeRow(adapter=name, **_trial(work, options, name, places)) for name in options.types]
    folder = work.out_dir / "report"
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(params)
    write_report(folder / REPORT_FILE, rows, settings)
    return work.register(
        "report",
        folder,
        base=identity_of(base)[0],
        base_revision=identity_of(base)[1],
        parents=[Parent(base.id, "base"), Parent(data.id, "data")],
        recipe=_recipe_text(work, settings),
        facts={"report": REPORT_TYPE, "types": list(options.types)},
    )


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """What was the same for all types; the general text by its digest."""
    general = {key: params["general"][key] for key in ("name", "sha256")} | {"texts": len(params["general"]["texts"])}
    return {**params["labels"], **params["options"], "general": general}


def _recipe_text(work: JobWork, settings: Mapping[str, Any]) -> str:
    import yaml

    params = work.spec.params
    inputs = {"base": f"sha256:{params['base']}", "data": f"sha256:{params['data']}"}
    recipe = {"compare-types": inputs, "options": params["options"], "general": settings["general"]}
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)


def _trial(work: JobWork, options: "TrialOptions", name: str, places: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of one type; those of a job that this one retries are taken as they are."""
    from trainers.trial_options import trial_training

    known = next((each for each in (folder / name / NUMBERS_FILE for folder in work.earlier) if each.is_file()), None)
    if known is None:
        folder = work.out_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        given = {**places, "options": trial_training(options, name), "out_dir": str(folder)}
        known = folder / NUMBERS_FILE
        (folder / "work.json").write_text(json.dumps({**given, "out": str(known)}), encoding="utf-8")
        _run_process(work, options, name, folder / "work.json")
    numbers = json.loads(known.read_text(encoding="utf-8"))
    if known.parent.parent != work.out_dir:  # a job that retries this one looks here
        (work.out_dir / name).mkdir(parents=True, exist_ok=True)
        (work.out_dir / name / NUMBERS_FILE).write_text(json.dumps(numbers), encoding="utf-8")
    return numbers


def _run_process(work: JobWork, options: "TrialOptions", name: str, given: Path) -> None:
    """Run `trainers.trial` to its end, passing on what it tells.

    Raises:
        JobError: it failed; the sentence that it gave, or where to look.
        JobStopped: the job was asked to stop.
    """
    problem = f"The trial of {name} broke off. The log has its traceback."
    command = [sys.executable, "-P", "-m", "trainers.trial", str(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            for line in process.stdout or ():
                if work.should_stop():
                    raise JobStopped
                event = _event_of(line)
                if event.get("kind") == "error":
                    problem = f"{name}: {event['text']}"
                else:
                    _pass_on(work, options, name, event)
        except BaseException:
            process.terminate()  # nothing of a trial is kept half done
            raise
    if process.returncode:
        raise JobError(problem)


def _event_of(line: str) -> dict[str, Any]:
    """The event of a line; what a library prints beside them is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _pass_on(work: JobWork, options: "TrialOptions", name: str, event: Mapping[str, Any]) -> None:
    """A trial's event as one of the whole job: its steps after those of the types before, its curves by its name."""
    done = options.types.index(name) * options.max_steps
    if event.get("kind") == "progress":
        text = f"{name}: {event.get('text', '')}"
        total = len(options.types) * options.max_steps
        work.emit("progress", step=done + min(event["step"], options.max_steps), total=total, text=text)
    elif event.get("kind") == "metric":
        values = {f"{key}/{name}": event[key] for key in ("loss", "eval_loss") if key in event}
        if values:
            work.emit("metric", step=event["step"], **values)
    elif event.get("kind") == "warning":
        work.emit("warning", text=f"{name}: {event['text']}")
