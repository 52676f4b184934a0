"""Datasets on the command line: in, looked at, out again; and files that nobody can train on."""

import json
from pathlib import Path

import pytest

from hub import open_registry
from medley.corpus import import_dataset, read_rows
from tests.cli.conftest import Here, Run, assert_refused, kept_in, write_sums


@pytest.mark.processes
def test_a_file_goes_in(stocked: Path, medley: Run, here: Here) -> None:
    path = write_sums(stocked.parent / "more.jsonl", rows=10)
    ran = medley("data", "import", path, "--name", "more", "--licence", "mit", "--eval-share", "0.2",
                 "--provenance", "human", check=True)  # fmt: skip
    version = open_registry(stocked).get("more", "dataset")
    assert ran.stdout == f"Done: more (sha256:{version.id[:8]}).\n"
    assert ran.stderr.endswith(": Import more from more.jsonl\n")
    assert ran.stderr.count("\n") == 1
    assert len(read_rows(version.path, "eval")) == 2
    assert here("data", "show", "more", ok=True).out == (
        "dataset     more:v1\n"
        f"id          sha256:{version.id}\n"
        "format      alpaca\n"
        "kind        sft\n"
        "rows        8 train, 2 eval\n"
        "turns       20, 2.0 a row\n"
        "licence     mit\n"
        "provenance  human\n"
        "source      more.jsonl\n"
        "\n"
        "STAGE    WHAT                                 ROWS\n"
        "found    rows                                 10\n"
        "repeats  nearly repeats an earlier row        0\n"
        "repeats  eval prompt nearly in train          0\n"
        "repeats  eval row shares 13 words with train  0\n"
    )
    assert [row["name"] for row in here("data", "list", "--json", ok=True).json] == ["more", "sums"]


@pytest.mark.processes
def test_datasets_are_mixed_and_the_mixture_names_its_parents(stocked: Path, medley: Run, here: Here) -> None:
    registry = open_registry(stocked)
    others = [{"instruction": f"Say {n}.", "output": f"{n}!"} for n in range(12)]
    (stocked.parent / "say.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))
    import_dataset(stocked.parent / "say.jsonl", stocked.parent / "say", eval_share=0.0)
    registry.publish("dataset", "say", stocked.parent / "say", metadata={"kind": "sft"})
    medley("data", "mix", "sums=3", "--replay", "say=0.25", "--name", "both", "--rows", "16", check=True)
    version = registry.get("both", "dataset")
    assert version.metadata["splits"] == {"train": 16, "eval": 2}
    assert {(role, parent.label) for role, parent in registry.parents(version.id)} == {
        ("data", "sums:v1"),
        ("replay", "say:v1"),
    }
    shown = here("data", "show", "both", ok=True).out
    assert "source      75.0% sums:v1, 25.0% say:v1\n" in shown
    assert "found    train rows from say:v1               4\n" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sums", "--name", "x"], "A mixture needs at least two datasets."),
        (["sums=much", "gone", "--name", "x"], "The weight of sums must be a number, got 'much'."),
        (["sums", "sums=2", "--name", "x"], "sums is named twice."),
    ],
)
def test_mixtures_that_are_refused_at_once(stocked: Path, here: Here, arguments: list[str], says: str) -> None:
    assert_refused(here("data", "mix", *arguments), says=says)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "bad.jsonl has no rows."),
        (
            b'{"title": "x", "body": "y"}\n',
            "bad.jsonl fits none of the known formats. Its columns: title, body. Known: ",
        ),
        (
            '{"prompt": "Café?", "completion": "Oui"}\n'.encode()
            + '{"prompt": "Thé?", "completion": "Non"}\n'.encode("cp1252"),
            "bad.jsonl mixes encodings: line 1 is UTF-8, line 2 is not. Save the whole file as UTF-8.",
        ),
        (
            b'{"messages": [{"role": "narrator", "content": "x"}, {"role": "assistant", "content": "y"}]}\n',
            "bad.jsonl has roles that Medley does not know in 1 of 1 rows: narrator. Known: ",
        ),
    ],
    ids=["empty", "columns", "encodings", "roles"],
)
def test_what_cannot_be_trained_on(stocked: Path, here: Here, content: bytes, says: str) -> None:
    path = stocked.parent / "bad.jsonl"
    path.write_bytes(content)
    before = kept_in(stocked)
    ended = here("data", "import", path, "--name", "bad")
    first, last = ended.err.splitlines()
    assert (ended.code, ended.out) == (1, "")
    assert first.endswith(": Import bad from bad.jsonl")
    assert last.startswith(f"Error: {says}")
    assert [each for each in kept_in(stocked) if not each.startswith("import-")] == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.jsonl", "--name", "x"], "There is no file 'gone.jsonl', and it is no Hub id (org/name) either."),
        (["tests", "--name", "x"], "'tests' is a folder. Name one of the files in it."),
        (["SUMS", "--name", "left"], "The name 'left' belongs to a version of kind adapter. Choose another one."),
        (["SUMS", "--name", "x", "--eval-share", "1"], "eval_share must be in [0, 1), got 1.0."),
        (["SUMS", "--name", "x", "--split", "train"],
         "A file has no split or revision; those are for datasets on the Hub. Leave them out."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_is_queued(
    stocked: Path, here: Here, tmp_path: Path, arguments: list[str], says: str
) -> None:
    path = write_sums(tmp_path / "sums.jsonl")
    before = kept_in(stocked)
    assert_refused(here("data", "import", *(path if each == "SUMS" else each for each in arguments)), says=says)
    assert kept_in(stocked) == before


def test_the_tokens_that_a_model_will_see(stocked: Path, here: Here) -> None:
    shown = here("data", "preview", "sums", "--base", "tiny", "--rows", "1", ok=True).out
    assert "<|im_start|>user\nWhat is " in shown
    [row] = here("data", "preview", "sums", "--base", "tiny", "--rows", "1", "--json", ok=True).json
    trained = "".join(token["text"] for token in row if token["trained"])
    assert trained.startswith("It is ")
    assert trained.endswith("<|im_end|>")
    assert shown.startswith(f"Row 1: {len(row)} tokens, {sum(token['trained'] for token in row)} trained\n")


def test_lengths_in_tokens_are_counted_for_a_base(stocked: Path, here: Here) -> None:
    shown = here("data", "show", "sums", "--base", "tiny", "--max-length", "1024", ok=True).out
    header, train, held_out = shown.split("\n\n")[2].splitlines()[:3]
    assert header.split("  ")[0] == "SPLIT"
    assert (train.split()[:3], held_out.split()[:3]) == (["train", "completion", "18"], ["eval", "completion", "2"])
    assert train.split()[6:8] == ["0.0%", "100.0%"]
    cut = here("data", "show", "sums", "--base", "tiny", "--max-length", "8", "--json", ok=True).json
    assert cut["tokens"]["train"]["completion"]["truncated"] == 18
    assert cut["tokens"]["train"]["completion"]["all_masked"] == 18
    assert cut["report"]["duplicates"]["rows"] == 20


def test_the_twelve_mistakes_are_looked_for(stocked: Path, here: Here) -> None:
    lines = here("data", "check", "sums", "--base", "tiny", ok=True).out.splitlines()
    assert len(lines) == 13
    assert lines[4].split("  ")[-1].strip() == "0 of 18 rows are longer than 1024 tokens; of 0 no answer remains."
    found = here("data", "check", "sums", "--base", "tiny", "--max-length", "8", "--json", ok=True).json
    assert [each["state"] for each in found][3] == "warning"
    assert found[3]["found"] == "18 of 18 rows are longer than 8 tokens; of 18 no answer remains."


def test_a_test_that_a_dataset_gives_away(stocked: Path, here: Here, tmp_path: Path) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve thirteen"
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps({"query": words, "choices": ["a", "b"], "gold": 0}) + "\n")
    said = "0 of 1 items stand in 0 rows; 1 were long enough.\n"
    assert here("data", "overlap", "sums", "--with", suite, ok=True).out == said
    assert here("data", "overlap", "sums", "--with", "sums", "--json", ok=True).json["items"] == 20
    assert_refused(here("data", "overlap", "sums", "--with", "nothing"), says="There is no dataset named 'nothing'.")


def test_the_rows_go_out(stocked: Path, here: Here, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert here("data", "export", "sums", out, ok=True).out == f"Wrote {out}.\n"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (len(rows), {row["split"] for row in rows}) == (20, {"train", "eval"})
    assert_refused(here("data", "export", "sums", out), says="out.jsonl is there already. Choose another name.")
    assert_refused(
        here("data", "export", "sums", tmp_path / "out.xls"), says="format must be one of jsonl, csv, parquet, got xls."
    )
