"""A data file becomes a dataset folder: detected, cleaned, counted, without duplicates, split, written in one step."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from medley.corpus import rules
from medley.corpus.chat_marks import row_marks
from medley.corpus.duplicates import find_duplicates
from medley.corpus.faults import check_what_is_left
from medley.corpus.folder import SPLITS, json_line, new_folder, write_lines
from medley.corpus.format_record import Record, Row, Settings, has_label, mark_of
from medley.corpus.formats import FORMATS, Format
from medley.corpus.records import read_records
from medley.corpus.report import PROVENANCE, SLOT, ImportReport, write_report
from medley.corpus.sources import Source, inspect
from medley.corpus.split import beginnings, eval_prompts, family_keys
from medley.corpus.tally import NAME_CHARACTERS, RowDropped, Tally, one_line
from medley.errors import DatasetError, ParameterError
from medley.events import Emit, ignore_event

SAMPLE_ROWS = 100  # looked at to tell the format
MAX_COLUMNS = 40  # named in a message or report
PROGRESS_ROWS = 1000
SHOWN_BEFORE = 40  # characters of an example before the mark that it is about


@dataclass(frozen=True)
class ImportSettings:
    """How to import; see `import_dataset`."""

    format: str = "auto"
    eval_share: float = 0.1
    seed: int = 0
    turns: str = "all"
    licence: str | None = None
    max_rows: int | None = None
    provenance: str | None = None

    def check(self) -> None:
        """Raises ParameterError for a value outside its range."""
        if self.format != "auto" and self.format not in FORMATS:
            raise ParameterError(f"format must be auto or one of {', '.join(FORMATS)}, got {self.format}.")
        if not 0 <= self.eval_share < 1:
            raise ParameterError(f"eval_share must be in [0, 1), got {self.eval_share}.")
        if self.turns not in {"all", "last"}:
            raise ParameterError(f"turns must be all or last, got {self.turns}.")
        if self.max_rows is not None and self.max_rows < 1:
            raise ParameterError(f"max_rows must be at least 1, got {self.max_rows}.")
        if self.provenance is not None and self.provenance not in PROVENANCE:
            raise ParameterError(f"provenance must be one of {', '.join(PROVENANCE)}, got {self.provenance}.")


def import_dataset(
    source: Path,
    out_dir: Path,
    *,
    format: str = "auto",
    eval_share: float = 0.1,
    seed: int = 0,
    turns: str = "all",
    licence: str | None = None,
    max_rows: int | None = None,
    provenance: str | None = None,
    emit: Emit = ignore_event,
) -> ImportReport:
    """Clean rows in `out_dir` (train.jsonl, eval.jsonl, dataset.json), and the report of what was done to get them.

    Rows with a role nobody knows, a label that is no mark, a chat template's marks in a text, or without the format's
    columns are left out while they are at most 5 % of all; more is an error. Everything else that cannot be used is
    left out and counted, whatever its share.

    Args:
        source: a .json, .jsonl, .ndjson, .csv, .tsv or .txt file (also .gz), or .parquet.
        out_dir: absent or empty; appears only when all went well.
        format: a name in FORMATS, or "auto" to detect it.
        eval_share: share of the different prompts that is kept for measuring, in [0, 1).
        turns: train on "all" assistant turns of a conversation, or on the "last" only.
        max_rows: stop after this many usable rows.
        provenance: who wrote the answers, for the record: "human", "generated" or "mixed".

    Raises:
        NotFoundError, DatasetError, ParameterError, ConflictError: nothing is written then.
    """
    settings = ImportSettings(format, eval_share, seed, turns, licence, max_rows, provenance)
    settings.check()
    return import_files([inspect(Path(source))], out_dir, settings, label=Path(source).name, emit=emit)


def import_files(
    sources: Sequence[Source], out_dir: Path, settings: ImportSettings, *, label: str, emit: Emit
) -> ImportReport:
    """As `import_dataset`, for one or several files of the same columns; `label` names them in report and messages."""
    records = chain.from_iterable(read_records(source) for source in sources)
    sample = list(islice(records, SAMPLE_ROWS))
    if not sample:
        raise DatasetError(f"{label} has no rows.")
    chosen = _choose_format(sample, settings.format, label)
    converting = _converting(sample, settings)
    tally = converting.tally
    with new_folder(out_dir) as staging:
        keys: list[tuple[str, ...]] = []
        rows = _clean_rows(chain(sample, records), chosen, converting, settings.max_rows, emit)
        write_lines(staging / "rows", _noting_keys(rows, keys))
        check_what_is_left(tally, label, chosen.name, has_rows=bool(keys))
        splits = _splits_of(keys, settings)
        _write_splits(staging, splits)
        rows_by_split = {split: splits.count(split) for split in SPLITS}
        emit("progress", step=tally.found, total=0, text="Looking for repetitions")
        report = ImportReport(
            format=chosen.name,
            kind=chosen.kind,
            source=label,
            source_sha256={source.name: source.sha256 for source in sources},
            encoding={source.name: source.encoding for source in sources if source.encoding},
            found={"rows": tally.found, **_sorted(tally.noticed)},
            rows=rows_by_split,
            prompts=_prompt_counts(keys, splits),
            fixed=_sorted(tally.fixed),
            dropped=_sorted(tally.dropped),
            examples=tally.examples,
            unused_columns=tuple(name for name in _columns(sample) if not _is_used(name, chosen, converting)),
            settings={name: getattr(settings, name) for name in ("eval_share", "seed", "turns", "max_rows")},
            licence=settings.licence,
            provenance=settings.provenance,
            duplicates=find_duplicates(staging, rows_by_split).to_json(),
        )
        write_report(staging, report)
    return report


def _choose_format(sample: Sequence[Record], wanted: str, label: str) -> Format:
    """The wanted format, or the one that fits most of the sample (the earlier in the table when equal)."""
    candidates = list(FORMATS.values()) if wanted == "auto" else [_named(wanted)]
    best = max(candidates, key=lambda each: sum(map(each.fits, sample)))
    if not any(map(best.fits, sample)):
        columns = ", ".join(_columns(sample)) or "none"
        known = "; ".join(f"{each.name} ({each.columns})" for each in candidates)
        fits = "fits none of the known formats" if wanted == "auto" else f"does not fit the format {wanted}"
        raise DatasetError(f"{label} {fits}. Its columns: {columns}. Known: {known}.")
    return best


def _named(name: str) -> Format:
    """A format that a person asked for, which may fit more than it would be detected in."""
    chosen = FORMATS[name]
    return replace(chosen, fits=chosen.fits_named or chosen.fits)


def _converting(sample: Sequence[Record], settings: ImportSettings) -> Settings:
    """What the converters need to know, as the first rows tell it, with a tally that is still empty."""
    return Settings(
        Tally(),
        settings.turns,
        status_counts=any(str(record.get("status")).lower() == "ok" for record in sample),
        labels_count=settings.format == "auto" or _labels_are_marks(sample),
    )


def _labels_are_marks(sample: Sequence[Record]) -> bool:
    return all(mark_of(record["label"]) is not None for record in sample if has_label(record))


def _is_used(column: str, chosen: Format, settings: Settings) -> bool:
    return column in chosen.reads and (column != "label" or settings.labels_count)


def _clean_rows(
    records: Iterable[Record], chosen: Format, settings: Settings, max_rows: int | None, emit: Emit
) -> Iterator[Row]:
    tally, seen, kept = settings.tally, set(), 0
    for record, is_fitting in _parts(records, chosen):
        tally.start_row()
        if tally.found % PROGRESS_ROWS == 0:
            emit("progress", step=tally.found, total=0, text="Reading rows")
        try:
            if not is_fitting:
                raise RowDropped(rules.NOT_IN_FORMAT, f"columns {', '.join(map(str, record))}")
            row = chosen.convert(record, settings)
            _check_texts(row, tally)
            digest = hashlib.sha256(json_line(row).encode()).digest()[:16]
            if digest in seen:
                raise RowDropped(rules.DUPLICATE)
        except RowDropped as fault:
            tally.drop(fault.why, fault.detail or record)
            continue
        seen.add(digest)
        tally.keep()
        tally.noticed.update(_contents(row))
        yield row
        kept += 1
        if kept == max_rows:
            return


def _parts(records: Iterable[Record], chosen: Format) -> Iterator[tuple[Record, bool]]:
    """(record, does it have the format's columns), with records that pack several taken apart."""
    for record in records:
        if chosen.fits(record):
            yield from ((part, True) for part in chosen.parts(record))
        else:
            yield record, False


def _check_texts(row: Row, tally: Tally) -> None:
    marks = row_marks(row)
    for mark in dict(marks):
        tally.values[rules.CHAT_MARKS][mark] += 1
    if marks:
        mark, text = marks[0]
        raise RowDropped(rules.CHAT_MARKS, f"{mark} in {text[max(0, text.find(mark) - SHOWN_BEFORE) :]}")


def _contents(row: Row) -> set[str]:
    """What is worth knowing of a row that is used as it is."""
    messages = [message for part in row.values() if isinstance(part, list) for message in part]
    found = {SLOT + slot for message in messages for slot in rules.PLACEHOLDER.findall(message["content"])}
    if len(row.get("completion", ())) > 1:
        found.add("rows with several assistant turns")
    if messages[0]["role"] == "system":
        found.add("rows with a system turn")
    return found


def _noting_keys(rows: Iterable[Row], keys: list[tuple[str, ...]]) -> Iterator[Row]:
    """The rows as they are; the keys of their prompts' beginnings are appended to `keys` in the same order."""
    for row in rows:
        keys.append(beginnings(row["prompt"]))
        yield row


def _splits_of(keys: Sequence[tuple[str, ...]], settings: ImportSettings) -> list[str]:
    """The split of each row."""
    families = family_keys(keys)
    held_out = eval_prompts(families, eval_share=settings.eval_share, seed=settings.seed)
    return [SPLITS[family in held_out] for family in families]


def _prompt_counts(keys: Sequence[tuple[str, ...]], splits: Sequence[str]) -> dict[str, int]:
    """split -> its different prompts."""
    return {split: len({key[-1] for key, its in zip(keys, splits, strict=True) if its == split}) for split in SPLITS}


def _write_splits(staging: Path, splits: Sequence[str]) -> None:
    """Sort the staged lines into train and eval, in their order."""
    with (
        (staging / "rows").open(encoding="utf-8", newline="\n") as rows,
        (staging / "train.jsonl").open("w", encoding="utf-8", newline="\n") as train,
        (staging / "eval.jsonl").open("w", encoding="utf-8", newline="\n") as held,
    ):
        for line, split in zip(rows, splits, strict=True):
            (train if split == "train" else held).write(line)
    (staging / "rows").unlink()


def _columns(sample: Sequence[Record]) -> list[str]:
    """The different columns of these records, as they may stand in a message."""
    names = dict.fromkeys(str(name) for record in sample for name in record)
    return [one_line(name, NAME_CHARACTERS) for name in islice(names, MAX_COLUMNS)]


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """Most frequent first, then by name: the same for the same rows."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
