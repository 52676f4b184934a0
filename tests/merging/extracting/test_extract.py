"""An adapter from two full models: as good as the best truncation, its error told as it is, loaded by plain peft."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medley.errors import IncompatibleError, ProblemsError
from merging import ExtractOptions, extract_adapter, extract_preflight
from merging.extracting.model_difference import difference
from merging.numerics.adaptive_svd import for_energy, largest, squared_norm
from tests.merging.tuned_models import (
    WEIGHTS,
    fine_tuned,
    logits,
    noise,
    shake_all,
    shake_linears,
    written_deltas,
)
from tests.tiny_model import TINY_BASE_ID

FILES = ["adapter_config.json", "adapter_model.safetensors", "merge_report.json"]
Q_PROJ = "model.layers.0.self_attn.q_proj"


def with_spectrum(rows: int, columns: int, power: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A random matrix with the singular values i^-power, and those."""
    generator, size = torch.Generator().manual_seed(3), min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, size, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, size, generator=generator)).Q
    values = torch.arange(1, size + 1).float() ** -power
    return (left * values) @ right.T, values


@pytest.mark.parametrize("shape", [(160, 300), (300, 160)])
@pytest.mark.parametrize("power", [0.05, 0.2, 0.5, 1.0, 2.0])
def test_the_error_is_within_a_percent_of_the_best(shape: tuple[int, int], power: float) -> None:
    matrix, values = with_spectrum(*shape, power)
    spectrum = largest(matrix, 24, torch.Generator().manual_seed(0), total=squared_norm(matrix))
    best = float(values[24:].double().norm())
    error = float(torch.linalg.matrix_norm(matrix.double() - spectrum.left @ spectrum.values.diag() @ spectrum.right))
    assert spectrum.rank == 24
    assert best * (1 - 1e-5) <= error <= best * 1.01


@pytest.mark.parametrize("rounding", [0.0, 1e-7, 1e-5])
@pytest.mark.parametrize(("held", "wanted"), [(1, 1), (4, 4), (16, 8), (8, 32)])
def test_a_matrix_of_low_rank_is_as_good_as_one_of_full_rank(held: int, wanted: int, rounding: float) -> None:
    """What a LoRA changed in float32: after the first block there is nothing left to find but rounding."""
    generator = torch.Generator().manual_seed(4)
    left, right = torch.randn(256, held, generator=generator), torch.randn(held, 192, generator=generator)
    matrix = left @ right + rounding * torch.randn(256, 192, generator=generator)
    spectrum = largest(matrix, wanted, torch.Generator().manual_seed(0), total=squared_norm(matrix))
    best = float(torch.linalg.svdvals(matrix.double())[wanted:].norm())
    error = float(torch.linalg.matrix_norm(matrix.double() - spectrum.left @ spectrum.values.diag() @ spectrum.right))
    assert error <= best * 1.02 + 1e-6 * float(torch.linalg.matrix_norm(matrix))
    columns = spectrum.left_basis
    torch.testing.assert_close(columns.T @ columns, torch.eye(columns.shape[1]).double(), atol=1e-5, rtol=0)


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("after", FLOATS)
@pytest.mark.parametrize("before", FLOATS)
def test_what_only_a_cast_changed_is_no_difference(before: torch.dtype, after: torch.dtype) -> None:
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first, second = weight.to(before), weight.to(after)
    assert difference(first, first.to(after)) is None
    assert difference(second.to(before), second) is None
    changed = second + torch.eye(8).to(after)
    assert difference(first, changed).diagonal().tolist() == pytest.approx([1.0] * 8, abs=0.1)


def test_a_difference_is_rounded_once() -> None:
    """1 + 2^-40 is a number of float64 alone; rounded first, it would be no other than 1."""
    before, after = torch.ones(2, 2, dtype=torch.float64), torch.full((2, 2), 1 + 2**-40, dtype=torch.float64)
    assert difference(before, after).tolist() == [[2**-40] * 2] * 2


def test_energy_takes_the_smallest_rank_and_stops_at_the_most() -> None:
    matrix, values = with_spectrum(300, 160, 1.0)
    squares, total = values.double().square(), squared_norm(matrix)
    needed = int((squares.cumsum(0) < 0.96 * squares.sum()).sum()) + 1
    assert needed == 14
    assert for_energy(matrix, 0.96, 128, torch.Generator().manual_seed(0), total=total).rank == needed
    assert for_energy(matrix, 0.96, 5, torch.Generator().manual_seed(0), total=total).rank == 5


def test_an_output_layer_of_the_models_own_is_not_overlooked(tiny_base: Path, tmp_path: Path) -> None:
    """Older configurations say nothing of tied embeddings where there are none."""
    model = fine_tuned(tiny_base, tmp_path / "tuned", shake_linears)
    settings = json.loads((model / "config.json").read_text())
    del settings["tie_word_embeddings"]
    (model / "config.json").write_text(json.dumps(settings))
    assert extract_preflight(tiny_base, model, ExtractOptions()).problems == ()
    tensors = load_file(model / WEIGHTS)
    save_file({**tensors, "lm_head.weight": torch.ones(384, 32)}, model / WEIGHTS, metadata={"format": "pt"})
    assert extract_preflight(tiny_base, model, ExtractOptions()).problems == (
        "The base has one matrix as embeddings and output layer, the model has two. Both must be of one architecture.",
    )


def test_a_chat_template_of_the_models_own_is_told(tiny_base: Path, tmp_path: Path) -> None:
    """The weights were tuned for other prompts than those that the base's template makes."""
    model = fine_tuned(tiny_base, tmp_path / "tuned", shake_linears)
    assert extract_preflight(tiny_base, model, ExtractOptions()).warnings == ()
    (model / "chat_template.jinja").write_text("{{ messages }}")
    told = "The model has a chat template of its own, which the adapter does not carry: prompts get the base's."
    assert extract_preflight(tiny_base, model, ExtractOptions()).warnings == (told,)
    (model / "chat_template.jinja").unlink()
    settings = json.loads((model / "tokenizer_config.json").read_text())
    template = [{"name": "tools", "template": "x"}, {"name": "default", "template": "{{ messages }}"}]
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    assert extract_preflight(tiny_base, model, ExtractOptions()).warnings == (told,)


def test_a_difference_of_low_rank_comes_back_whole(tiny_base: Path, tmp_path: Path) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if "q_proj" not in name and "down_proj" not in name:
            return tensor
        rows, columns = tensor.shape
        return tensor + noise(name, (rows, 3), 0.3) @ noise(name + "a", (3, columns), 0.3)

    model = fine_tuned(tiny_base, tmp_path / "tuned", change)
    report = extract_adapter(tiny_base, model, tmp_path / "out", ExtractOptions(rank="3"), base_model=TINY_BASE_ID)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert sorted(report.modules) == [
        f"model.layers.{layer}.{part}" for layer in (0, 1) for part in ("mlp.down_proj", "self_attn.q_proj")
    ]
    assert (report.unchanged, report.max_rank, report.saved, report.ignored) == (10, 3, (), {})
    assert report.error < 1e-5
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"], config["base_model_name_or_path"]) == (
        3, 3, {}, TINY_BASE_ID,
    )  # fmt: skip
    assert (logits(tiny_base) - logits(model)).abs().max() > 0.1
    torch.testing.assert_close(logits(tiny_base, tmp_path / "out"), logits(model), atol=2e-5, rtol=1e-4)


def test_the_reported_error_is_the_measured_one_and_the_best(tiny_base: Path, tmp_path: Path) -> None:
    model = fine_tuned(tiny_base, tmp_path / "tuned", shake_linears)
    report = extract_adapter(tiny_base, model, tmp_path / "out", ExtractOptions(rank="4"), base_model=TINY_BASE_ID)
    before, after, written = (
        load_file(tiny_base / WEIGHTS),
        load_file(model / WEIGHTS),
        written_deltas(tmp_path / "out"),
    )
    lost = total = 0.0
    for name, delta in written.items():
        exact = after[f"{name}.weight"].double() - before[f"{name}.weight"].double()
        values = torch.linalg.svdvals(exact)
        error, best = float((exact - delta).norm()), float(values[4:].norm())
        module = report.modules[name]
        assert module.error == pytest.approx(error / float(exact.norm()), rel=1e-5)
        assert best * (1 - 1e-5) <= error <= best * 1.01
        assert module.energy_kept == pytest.approx(1 - module.error**2, abs=1e-5)
        lost, total = lost + error**2, total + float(exact.norm()) ** 2
    assert (len(written), report.unchanged) == (14, 0)
    assert report.error == pytest.approx((lost / total) ** 0.5, rel=1e-5)
    stored = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert (stored["method"], stored["rank"], stored["error"]) == ("extract", 4, report.error)
    assert stored["modules"][Q_PROJ]["rank"] == 4


def test_energy_gives_every_module_its_own_rank(tiny_base: Path, tmp_path: Path) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        rank = {"q_proj": 2, "up_proj": 5}.get(name.split(".")[-2], 0)
        return tensor + noise(name, (tensor.shape[0], rank)) @ noise(name, (rank, tensor.shape[1])) if rank else tensor

    model = fine_tuned(tiny_base, tmp_path / "tuned", change)
    options = ExtractOptions(rank="energy:0.999999")
    report = extract_adapter(tiny_base, model, tmp_path / "out", options, base_model=TINY_BASE_ID)
    assert {name.split(".")[-1]: module.rank for name, module in report.modules.items()} == {"q_proj": 2, "up_proj": 5}
    torch.testing.assert_close(logits(tiny_base, tmp_path / "out"), logits(model), atol=2e-5, rtol=1e-3)
    capped = ExtractOptions(rank="energy:0.999999", max_rank=3)
    report = extract_adapter(tiny_base, model, tmp_path / "capped", capped, base_model=TINY_BASE_ID)
    assert report.max_rank == 3
    assert report.modules["model.layers.0.mlp.up_proj"].energy_kept < 0.999


def test_norms_and_tied_embeddings_are_saved_whole_and_loaded_by_peft(tiny_base: Path, tmp_path: Path) -> None:
    model = fine_tuned(tiny_base, tmp_path / "tuned", shake_all)
    report = extract_adapter(tiny_base, model, tmp_path / "out", ExtractOptions(rank="32"), base_model=TINY_BASE_ID)
    assert len(report.saved) == 7  # two norms in each of two layers, the last norm, embeddings, output layer
    assert {"model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"} < set(report.saved)
    assert report.error < 1e-5
    torch.testing.assert_close(logits(tiny_base, tmp_path / "out"), logits(model), atol=2e-5, rtol=1e-4)


def test_what_is_no_linear_weight_can_be_refused_or_ignored(tiny_base: Path, tmp_path: Path) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor + 0.5 if name == "model.norm.weight" else shake_linears(name, tensor)

    model = fine_tuned(tiny_base, tmp_path / "tuned", change)
    with pytest.raises(IncompatibleError) as refused:
        extract_adapter(tiny_base, model, tmp_path / "out", ExtractOptions(others="refuse"), base_model=TINY_BASE_ID)
    assert str(refused.value) == (
        "Besides linear weights the model also changed model.norm.weight. "
        "Choose others=save to keep it whole in the adapter, or others=ignore."
    )
    assert not (tmp_path / "out").exists()
    events = []
    report = extract_adapter(
        tiny_base, model, tmp_path / "out", ExtractOptions(others="ignore"), base_model=TINY_BASE_ID,
        emit=lambda kind, **fields: events.append((kind, fields)),
    )  # fmt: skip
    assert report.ignored == {"model.norm.weight": pytest.approx(0.5 * 32**0.5, rel=1e-6)}
    assert report.warnings == ("model.norm.weight changed too and is left out: a change of norm 2.83.",)
    assert events[-2:] == [
        ("progress", {"step": 14, "total": 14, "text": "Extracting"}),
        ("artifact", {"path": str(tmp_path / "out")}),
    ]


def test_shards_and_repetition_change_no_byte(tiny_base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = fine_tuned(tiny_base, tmp_path / "tuned", shake_linears)
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    for source, name in ((model, "one"), (model, "again"), (tmp_path / "shards", "many")):
        extract_adapter(tiny_base, source, tmp_path / name, ExtractOptions(rank="8"), base_model=TINY_BASE_ID)
    one, again, many = ((tmp_path / name / FILES[1]).read_bytes() for name in ("one", "again", "many"))
    assert one == again == many


def test_rounding_to_another_dtype_is_no_change(tiny_base: Path, tmp_path: Path) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return (tensor * 1.5 if name == f"{Q_PROJ}.weight" else tensor).to(torch.bfloat16)

    model = fine_tuned(tiny_base, tmp_path / "tuned", change)
    report = extract_adapter(tiny_base, model, tmp_path / "out", base_model=TINY_BASE_ID)
    assert (list(report.modules), report.unchanged, report.dtype) == ([Q_PROJ], 13, "bfloat16")
    assert report.warnings == (
        "The base is stored as F32 and the model as BF16; a tensor that differs only by that rounding counts as "
        "unchanged.",
    )
    assert 1e-4 < report.error < 0.01  # all 32 singular values are there; what is left is the rounding to bfloat16
    with pytest.raises(IncompatibleError, match=r"^No linear weight differs between the base and the model"):
        extract_adapter(tiny_base, tiny_base, tmp_path / "none", base_model=TINY_BASE_ID)


def test_preflight_says_everything_at_once(tiny_base: Path, tmp_path: Path) -> None:
    model = fine_tuned(tiny_base, tmp_path / "tuned", lambda name, tensor: tensor, hidden_size=64, rope_theta=5.0)
    tensors = load_file(model / WEIGHTS)
    tensors["model.embed_tokens.weight"] = torch.zeros(386, 32)
    tensors[f"{Q_PROJ}.weight"] = torch.zeros(32, 16)
    tensors["extra.weight"] = tensors.pop("model.norm.weight").to(torch.int8)
    save_file(tensors, model / WEIGHTS, metadata={"format": "pt"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "something").touch()
    found = extract_preflight(tiny_base, model, ExtractOptions())
    assert found.problems == (
        "hidden_size is 32 in the base and 64 in the model. Both must be of one architecture.",
        "The model holds 1 of 20 tensors in other than 16, 32 or 64-bit floating point, for example extra.weight (I8). "
        "Give its 16-bit or 32-bit weights.",
        "Only the base has model.norm.weight. Both must be of one architecture.",
        "Only the model has extra.weight. Both must be of one architecture.",
        "model.embed_tokens.weight is 384 x 32 in the base and 386 x 32 in the model: another vocabulary. Choose "
        "others=ignore to keep the base's vocabulary and its embeddings.",
        f"{Q_PROJ}.weight is 32 x 32 in the base and 32 x 16 in the model. Both must be of one architecture.",
    )
    assert found.warnings == ("The configurations also differ in rope_theta, which an adapter cannot carry.",)
    with pytest.raises(ProblemsError, match=r"^3 problems in the extraction"):
        extract_adapter(
            tmp_path / "nowhere", model, tmp_path / "out", ExtractOptions(rank="auto"), base_model=TINY_BASE_ID
        )


def test_weights_that_are_not_finite_leave_nothing_behind(tiny_base: Path, tmp_path: Path) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.index_fill(0, torch.tensor([1]), torch.nan) if name == f"{Q_PROJ}.weight" else tensor

    model = fine_tuned(tiny_base, tmp_path / "tuned", change)
    with pytest.raises(Exception, match=f"^{Q_PROJ} holds NaN or Infinity in one of the models.$"):
        extract_adapter(tiny_base, model, tmp_path / "out", base_model=TINY_BASE_ID)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("home", "tuned")] == []


def test_an_extraction_that_is_interrupted_leaves_nothing_behind(tiny_base: Path, tmp_path: Path) -> None:
    def interrupt(kind: str, **fields: object) -> None:
        if fields.get("step") == 3:
            raise KeyboardInterrupt

    model = fine_tuned(tiny_base, tmp_path / "tuned", shake_linears)
    with pytest.raises(KeyboardInterrupt):
        extract_adapter(tiny_base, model, tmp_path / "out", base_model=TINY_BASE_ID, emit=interrupt)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("home", "tuned")] == []
    extract_adapter(tiny_base, model, tmp_path / "out", base_model=TINY_BASE_ID)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
