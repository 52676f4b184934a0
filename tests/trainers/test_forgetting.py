"""Forgetting: the paired change of the cross-entropy on general text, by hand and against plain peft."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel

from medley.errors import DatasetError
from medley.lm.load import load_base
from tests.tiny_model import SAMPLE_TEXT
from trainers import SFTOptions
from trainers.adapter import attach_adapter
from trainers.forgetting import forgetting_of, measure_forgetting
from trainers.general_texts import read_texts

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "general.txt"


def test_the_change_and_its_error_by_hand() -> None:
    """Two texts of 3 and 1 tokens that change by 0.1 and 0.5: d = 0.75 · 0.1 + 0.25 · 0.5 = 0.2.

    Its error: sqrt(2/1 · ((0.75 · -0.1)² + (0.25 · 0.3)²)) = sqrt(2 · 0.01125) = 0.15.
    """
    found = forgetting_of([2.0, 3.0], [2.1, 3.5], [3, 1])
    assert (found.texts, found.tokens) == (2, 4)
    assert found.before == pytest.approx(2.25)  # 0.75 · 2 + 0.25 · 3
    assert found.after == pytest.approx(2.45)
    assert found.change == pytest.approx(0.2)
    assert found.error == pytest.approx(0.15)


@pytest.mark.parametrize("adapter", ["lora", "prompt-tuning", "prefix-tuning", "llama-adapter"])
def test_an_adapter_that_does_nothing_forgets_nothing_and_one_that_does_is_measured(
    tiny_base: Path, make_adapter: Callable[..., Path], adapter: str
) -> None:
    base = load_base(tiny_base, device="cpu", dtype="float32")
    texts = [SAMPLE_TEXT[0], SAMPLE_TEXT[1], "x"]  # the last is one token, from which nothing can be predicted
    if adapter == "lora":
        model = PeftModel.from_pretrained(base.model, str(make_adapter("one")))
    else:
        model = attach_adapter(base.model, SFTOptions(adapter=adapter), None)
    found = measure_forgetting(model, base.tokenizer, texts)
    plain = load_base(tiny_base, device="cpu", dtype="float32").model
    total, count = 0.0, 0
    for text in texts[:2]:
        ids = torch.tensor([base.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            total += float(F.cross_entropy(plain(ids).logits[0, :-1], ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    assert found.tokens == count
    assert found.before == pytest.approx(total / count, abs=1e-5)
    if adapter == "llama-adapter":  # its gate is closed at the start
        assert (found.change, found.error) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    else:
        assert abs(found.change) > 1e-4
        assert found.error > 0


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("Only one line.\n\n\n")
    with pytest.raises(DatasetError) as caught:
        read_texts(path)
    assert str(caught.value) == (
        "one.txt has fewer than 2 texts, too few to measure forgetting on. Part them by empty lines."
    )


def test_texts_are_parted_by_empty_lines_or_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("One paragraph,\nover two lines.\n\nAnother.\n")
    assert read_texts(path) == ["One paragraph, over two lines.", "Another."]
    path.write_text("One article.\nAnother.\n" + "x" * 7000)
    assert read_texts(path) == ["One article.", "Another.", "x" * 6000]


def test_the_example_is_read_by_paragraphs() -> None:
    texts = read_texts(EXAMPLE)
    assert len(texts) == 14
    assert all(200 < len(text) < 600 and "\n" not in text for text in texts)
