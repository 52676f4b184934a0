"""What an import found, fixed and dropped; stands beside the rows as `dataset.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from medley.corpus.folder import REPORT_FILE
from medley.corpus.rules import CHAT_MARKS
from medley.errors import DatasetError, NotFoundError

PROVENANCE = ("human", "generated", "mixed")
SLOT = "unfilled slot "


@dataclass(frozen=True)
class ImportReport:
    """The record of one import. The same source and settings give the same report, byte for byte.

    Attributes:
        format, kind: a name in FORMATS, and "sft" or "preference".
        source: the file's name or `repo@commit`, never a path of this machine.
        source_sha256: file name -> sha256 of every file read.
        encoding: file name -> how its text was decoded.
        found: what there was -> rows: "rows" themselves (before anything was dropped), and of the rows that were kept
            those with several assistant turns, with a system turn, with an unfilled slot such as {{name}}.
        rows: split -> rows written.
        prompts: split -> different prompts.
        fixed: what was put right -> rows.
        dropped: why a row was left out -> rows.
        examples: what or why -> up to three {"row", "text"}.
        unused_columns: columns of the source that the format has no use for.
        settings: eval_share, seed, turns, max_rows.
        licence: as given by whoever imported it, or None.
        provenance: who wrote the answers, a member of PROVENANCE, as given by whoever imported it; None is unknown.
        duplicates: `medley.corpus.duplicates.Duplicates` as JSON; {} in reports of an older Medley.
    """

    format: str
    kind: str
    source: str
    source_sha256: Mapping[str, str]
    encoding: Mapping[str, str]
    found: Mapping[str, int]
    rows: Mapping[str, int]
    prompts: Mapping[str, int]
    fixed: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    unused_columns: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    provenance: str | None = None
    duplicates: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def facts(self) -> dict[str, Any]:
        """What a list of datasets shows of this one."""
        return {
            "kind": self.kind,
            "format": self.format,
            "rows": sum(self.rows.values()),
            "splits": dict(self.rows),
            "licence": self.licence,
            "provenance": self.provenance,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ImportReport":
        """The report from what `to_json` gave; keys of a newer Medley are passed over."""
        known = {each.name for each in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "unused_columns": tuple(kept.get("unused_columns", ()))})

    def warnings(self) -> list[str]:
        """What a person should look at, one plain sentence each."""
        sentences = []
        slots = [
            f"{what.removeprefix(SLOT)} ({rows} rows)" for what, rows in self.found.items() if what.startswith(SLOT)
        ]
        if slots:
            sentences.append(f"Unfilled slots stay in the text: {', '.join(slots)}. Fill them in before you train.")
        marked = self.dropped.get(CHAT_MARKS, 0)
        if marked:
            example = self.examples[CHAT_MARKS][0]
            sentences.append(
                f"{marked:,} of {self.found['rows']:,} rows hold marks of a chat template in their texts and were left "
                f"out, for example row {example['row']}: {example['text']}"
            )
        sentences += repetitions(self.duplicates) if self.duplicates else []
        if not self.rows.get("eval"):
            sentences.append("There is no eval split, so training cannot measure itself.")
        guessed = [name for name, encoding in self.encoding.items() if encoding == "cp1252"]
        if guessed:
            sentences.append(f"{', '.join(guessed)} is not UTF-8 and was read as Windows-1252: check accented letters.")
        return sentences


def repetitions(duplicates: Mapping[str, Any]) -> list[str]:
    """What a person should know of a dataset's repetitions, one plain sentence each."""
    near, compared, across = duplicates["near"], duplicates["compared"], duplicates["eval_near_train"]
    overlap, held_out = duplicates["eval_overlap"]["found"], duplicates["eval_rows"]
    sentences = []
    if near:
        sentences.append(f"{near:,} of {compared:,} rows nearly repeat an earlier one. None was left out.")
    if across:
        sentences.append(f"{across:,} of {held_out:,} eval prompts are nearly the same as a train prompt.")
    if overlap:
        sentences.append(f"{overlap:,} of {held_out:,} eval rows share a run of words with a train row (13 words).")
    return sentences


def write_report(folder: Path, report: ImportReport) -> None:
    """Write `dataset.json` with sorted keys."""
    text = json.dumps(report.to_json(), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def read_report(folder: Path) -> ImportReport:
    """The report of a dataset folder.

    Raises:
        NotFoundError: the folder has none.
        DatasetError: it is damaged.
    """
    path = Path(folder) / REPORT_FILE
    if not path.is_file():
        raise NotFoundError(f"{Path(folder).name} is not a dataset: it has no {REPORT_FILE}.")
    try:
        return ImportReport.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path.name} in {Path(folder).name} is damaged. Import the dataset again.") from error
