"""What nobody can train on: one sentence that says what is wrong and what to do, and nothing written."""

import gzip
import io
import json
import resource
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.corpus import import_dataset
from medley.corpus.sources import MAX_LINE_CHARACTERS
from medley.errors import ConflictError, DatasetError, NotFoundError, ParameterError, StorageError, UserError
from tests.corpus.reading import alpaca, assistant, user

WriteFile = Callable[..., Path]
KNOWN = (
    "oasst-preference (a message tree, for its ranked replies); "
    "block-preference (chosen_messages, rejected_messages); sharegpt-preference (conversations, chosen, rejected); "
    "preference (prompt, chosen, rejected); transcripts (chosen and rejected, dialogues of Human: and Assistant:); "
    "summaries (info, summaries, choice); shp (history, human_ref_A, human_ref_B, labels); "
    "helpsteer (prompt, response_1, response_2, preference_strength); "
    "unpaired (prompt, completion, label (true or false, 1 or 0)); "
    "oasst (a message tree); sharegpt (conversations); messages (messages); ultrachat (data, a list of texts); "
    "self-instruct (instruction, instances); alpaca (instruction, input, output); flan (inputs, targets); "
    "flan-table (two or three columns without a header (.tsv)); prompt-completion (prompt, completion); "
    "prompts (prompt alone)"
)
ROLES = (
    "system, developer, user, human, prompter, assistant, gpt, chatgpt, bot, model, function_call, tool_call, "
    "tool, function, observation, tool_response, function_response, ipython"
)
LIMIT = "4 million characters. A row holds one conversation: split the file, or take the row out."


def refused(path: Path, tmp_path: Path, kind: type[UserError] = DatasetError, **settings: Any) -> str:
    """The message of the refusal; fails if anything was written or left behind."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind) as caught:
        import_dataset(path, tmp_path / "new" / "out", **settings)
    assert sorted(tmp_path.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "a.jsonl has no rows."),
        ("a.json", "[]", "a.json has no rows."),
        ("a.csv", "", "a.csv has no rows."),
        ("a.csv", "prompt,completion\n", "a.csv has no rows."),
        ("a.jsonl", "\n\n", "a.jsonl has no rows."),
        (
            "a.csv",
            "title,body\nx,y\n",
            f"a.csv fits none of the known formats. Its columns: title, body. Known: {KNOWN}.",
        ),
        ("a.jsonl", '{"text": "x"}\n', f"a.jsonl fits none of the known formats. Its columns: text. Known: {KNOWN}."),
        (
            "a.jsonl",
            json.dumps({"two\nlines": 1, "x" * 99: 2, **{str(number): 0 for number in range(99)}}),
            f"a.jsonl fits none of the known formats. Its columns: two lines, {'x' * 39}…, "
            f"{', '.join(map(str, range(38)))}. Known: {KNOWN}.",
        ),
        ("a.jsonl", "{}\n", f"a.jsonl fits none of the known formats. Its columns: none. Known: {KNOWN}."),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "Line 2 of a.jsonl is not JSON: Expecting value."),
        ("a.jsonl", '{"a": 1}\n[1]\n', "Line 2 of a.jsonl is a list, not an object with columns."),
        ("a.json", '[{"a": 1}, {"a": ', "Item 2 of a.json is not JSON: Expecting value."),
        ("a.json", '[{"a": 1}, 7]', "Item 2 of a.json is a number, not an object with columns."),
        ("a.jsonl", "[" * 100_000, "Item 1 of a.jsonl is nested too deeply."),
        ("a.jsonl", '{"a":' * 100_000, "Line 1 of a.jsonl is nested too deeply."),
        ("a.jsonl", b'{"a": "\0"}\n', "a.jsonl is not a text file: it contains zero bytes. Save it as UTF-8."),
        (
            "a.csv",
            "prompt,completion\nHi,there,you\n",
            "Line 2 of a.csv has 3 cells, but the header has 2. Put texts that contain the separator in double quotes.",
        ),
        ("a.csv", "prompt,prompt\nHi,there\n", "The header of a.csv names a column twice: prompt, prompt."),
        (
            "a.csv",
            'prompt,completion\n"Hi,there\n',
            "a.csv is not a readable CSV file near line 2: unexpected end of data.",
        ),
        (
            "a.tsv",
            "Is it?\tyes\nWas it?\tno\tperhaps\n",
            "Row 2 of a.tsv has 3 cells, but the first line has 2. Write a tab within a text as a space.",
        ),
        ("a.tsv", "prompt\tprompt\nx\ty\n", "The header of a.tsv names a column twice: prompt, prompt."),
        ("a.txt", "\n \n", "a.txt has no rows."),
        (
            "a.pdf",
            "Hello",
            "a.pdf has an ending that Medley does not read. "
            "Known: .json, .jsonl, .ndjson, .csv, .tsv, .txt (each also with .gz) and .parquet.",
        ),
        (
            "a.jsonl.gz",
            b"not gzip",
            "a.jsonl.gz is a damaged gzip archive (Not a gzipped file (b'no')). Download it again.",
        ),
    ],
)
def test_files_that_hold_no_rows(
    data_file: WriteFile, tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert refused(data_file(name, content), tmp_path) == message


def test_mixed_encodings_are_refused_with_the_lines(data_file: WriteFile, tmp_path: Path) -> None:
    lines = [
        '{"prompt": "Café?", "completion": "Oui"}\n'.encode(),
        '{"prompt": "Thé?", "completion": "Non"}\n'.encode("cp1252"),
    ]
    assert refused(data_file("a.jsonl", b"".join(lines)), tmp_path) == (
        "a.jsonl mixes encodings: line 1 is UTF-8, line 2 is not. Save the whole file as UTF-8."
    )


def test_another_alphabet_is_refused_rather_than_misread(data_file: WriteFile, tmp_path: Path) -> None:
    text = '{"prompt": "Привет, как дела сегодня?", "completion": "Хорошо"}\n'.encode("cp1251")
    assert refused(data_file("a.jsonl", b'{"a": 1}\n' + text), tmp_path) == (
        "a.jsonl is not UTF-8 from line 2 on. Save the file as UTF-8."
    )


def test_a_cut_utf16_file_is_refused(data_file: WriteFile, tmp_path: Path) -> None:
    content = '{"prompt": "Hi", "completion": "Hello"}\n'.encode("utf-16")[:-1]
    assert refused(data_file("a.jsonl", content), tmp_path) == "a.jsonl begins as utf-16, but is damaged further on."


@pytest.mark.parametrize("megabytes", [10, 100])
def test_a_huge_line_is_refused_without_reading_it_into_memory(tmp_path: Path, megabytes: int) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        file.write('{"prompt": "Hi", "completion": "Hello"}\n{"prompt": "')
        for _ in range(megabytes):
            file.write("x" * 1_000_000)
        file.write('", "completion": "Hello"}\n')
    tracemalloc.start()
    try:
        message = refused(path, tmp_path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message == f"Line 2 of a.jsonl is longer than {LIMIT}"
    assert peak_bytes < 10 * MAX_LINE_CHARACTERS


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("a.json", '[{"prompt": "', "Item 1 of a.json"),
        ("a.csv", 'prompt,completion\n"', "Line 2 of a.csv"),
    ],
)
def test_a_huge_item_is_refused_in_the_other_text_kinds(
    data_file: WriteFile, tmp_path: Path, name: str, start: str, what: str
) -> None:
    assert refused(data_file(name, start + "x" * 10_000_000), tmp_path) == f"{what} is longer than {LIMIT}"


def test_a_wrong_item_is_not_called_long(data_file: WriteFile, tmp_path: Path) -> None:
    content = '[{"prompt": oops},' + " " * 2 * MAX_LINE_CHARACTERS + "]"
    assert refused(data_file("a.json", content), tmp_path) == "Item 1 of a.json is not JSON: Expecting value."


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(80):
            file.write(b"\n" * 2**20)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed.getvalue())
    assert refused(path, tmp_path) == "a.jsonl.gz unpacks to more than 200 times its size. That is not a dataset."


def test_a_cut_gzip_is_refused(data_file: WriteFile, tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(alpaca()).encode() * 100)
    assert refused(data_file("a.jsonl.gz", whole[:-20]), tmp_path).startswith("a.jsonl.gz is a damaged gzip archive (")


def test_a_file_that_only_says_parquet_is_refused(data_file: WriteFile, tmp_path: Path) -> None:
    message = refused(data_file("a.parquet", b"PAR1 and nothing else"), tmp_path)
    assert message.startswith("a.parquet is not a readable Parquet file: ")


def test_unknown_roles_are_named(data_file: WriteFile, tmp_path: Path) -> None:
    chat = [user("Hi"), assistant("Hello")]
    odd = [user("Hi"), {"role": "Narrator", "content": "Night fell."}]
    path = data_file("a.jsonl", [{"messages": chat}] * 18 + [{"messages": odd}] * 2)
    assert refused(path, tmp_path) == (
        f"a.jsonl has roles that Medley does not know in 2 of 20 rows: Narrator. Known: {ROLES}."
    )


def test_one_row_in_twenty_may_have_an_unknown_role(data_file: WriteFile, tmp_path: Path) -> None:
    chats = [{"messages": [user(f"{number}?"), assistant("Yes")]} for number in range(19)]
    odd = {"messages": [user("Hi"), {"role": "Narrator", "content": "Night fell."}]}
    report = import_dataset(data_file("a.jsonl", [*chats, odd]), tmp_path / "out")
    assert report.dropped == {"unknown role": 1}
    assert report.examples["unknown role"] == [{"row": 20, "text": "role 'Narrator'"}]


def test_rows_of_another_form_are_refused_when_they_are_many(data_file: WriteFile, tmp_path: Path) -> None:
    path = data_file("a.jsonl", [alpaca(f"{number}?") for number in range(8)] + [{"title": "x"}, {"title": "y"}])
    assert refused(path, tmp_path) == (
        "a.jsonl: 2 of 10 rows do not have the same form as the others, for example row 9: columns title."
    )


def test_nothing_usable_is_left(data_file: WriteFile, tmp_path: Path) -> None:
    rows = [alpaca("A?", ""), alpaca("B?", " "), alpaca("")]
    assert refused(data_file("a.jsonl", rows), tmp_path) == (
        "No row of a.jsonl can be used. Of 3 rows found, dropped: empty answer (2), empty question (1)."
    )


def test_a_wrong_named_format_lists_the_columns(data_file: WriteFile, tmp_path: Path) -> None:
    assert refused(data_file("a.jsonl", [alpaca()]), tmp_path, format="messages") == (
        "a.jsonl does not fit the format messages. Its columns: instruction, input, output. Known: messages (messages)."
    )


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.jsonl", tmp_path, NotFoundError) == f"There is no file {tmp_path / 'gone.jsonl'}."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_share": 1.0}, "eval_share must be in [0, 1), got 1.0."),
        ({"turns": "first"}, "turns must be all or last, got first."),
        ({"max_rows": 0}, "max_rows must be at least 1, got 0."),
        ({"provenance": "me"}, "provenance must be one of human, generated, mixed, got me."),
        (
            {"format": "csv"},
            "format must be auto or one of oasst-preference, block-preference, sharegpt-preference, preference, "
            "transcripts, summaries, shp, helpsteer, unpaired, oasst, sharegpt, messages, ultrachat, self-instruct, "
            "alpaca, flan, flan-table, prompt-completion, prompts, got csv.",
        ),
    ],
)
def test_settings_out_of_range(data_file: WriteFile, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    assert refused(data_file("a.jsonl", [alpaca()]), tmp_path, ParameterError, **settings) == message


def test_a_place_that_cannot_be_written(data_file: WriteFile, tmp_path: Path) -> None:
    path = data_file("a.jsonl", [alpaca()])
    with pytest.raises(StorageError, match=r"^out cannot be written: File exists\.$"):
        import_dataset(path, path / "out")


def test_a_full_disk_leaves_nothing(data_file: WriteFile, tmp_path: Path) -> None:
    path = data_file("a.jsonl", [alpaca(f"{number}?") for number in range(2000)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        message = refused(path, tmp_path, StorageError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert message == "out cannot be written: File too large."


def test_a_folder_with_files_is_never_written_into(data_file: WriteFile, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    with pytest.raises(ConflictError, match=r"out is not empty\. Choose a folder that does not exist yet\."):
        import_dataset(data_file("a.jsonl", [alpaca()]), out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
