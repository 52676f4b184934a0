"""What the registry notes of a full model is what its files say."""

import hashlib
import json
from pathlib import Path

from medley.jobs.model_facts import model_facts
from medley.lm.base_folder import weights_digest
from medley.lm.load import load_tokenizer, template_hash


def test_the_facts_of_a_model_are_read_from_its_files(tiny_base: Path) -> None:
    # embeddings 384*32, per layer q,o 32*32, k,v 16*32, three of the MLP 64*32, two norms 32; one last norm
    parameters = 384 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32 + 2 * 32) + 32
    assert model_facts(tiny_base) == {
        "architecture": "LlamaForCausalLM",
        "parameters": parameters,
        "dtype": "float32",
        "size_bytes": 4 * parameters,
        "weights_digest": weights_digest(tiny_base),
        "tokenizer_hash": hashlib.sha256((tiny_base / "tokenizer.json").read_bytes()).hexdigest(),
        "template_hash": template_hash(load_tokenizer(tiny_base)),
    }


def test_a_template_in_the_tokenizers_configuration_has_the_same_hash(tiny_base: Path, tmp_path: Path) -> None:
    for path in tiny_base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    template = (tmp_path / "chat_template.jinja").read_text(encoding="utf-8")
    (tmp_path / "chat_template.jinja").unlink()
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    assert model_facts(tmp_path)["template_hash"] == model_facts(tiny_base)["template_hash"]
