"""A tiny Llama with a real tokenizer and chat template, and LoRA adapters on it, made by the real libraries."""

from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TINY_BASE_ID = "medley-tests/tiny-llama"
SAMPLE_TEXT = [
    "The quick brown fox jumps over the lazy dog.",
    "Ahoy matey! The treasure lies where the north wind sings.",
    "Answer in one short sentence: what is the capital of France?",
    "system user assistant 0123456789 +-*/=()[]{}.,:;!?'\"\n",
]


def write_tiny_base(folder: Path, hidden_size: int = 32) -> Path:
    """A two-layer Llama (4 heads, 2 key-value heads, tied embeddings) saved in `folder`; 4-bit needs hidden 64."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        SAMPLE_TEXT, trainers.BpeTrainer(vocab_size=384, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_tiny_adapter(
    base: Path, folder: Path, *, r: int = 4, seed: int = 0, base_id: str = TINY_BASE_ID, scale: float = 0.2, **lora: Any
) -> Path:
    """A LoRA adapter saved by peft with both factors random, so that its delta is not zero.

    Args:
        base: the tiny base's folder.
        r: rank; `lora_alpha` is 2r unless given in `lora`.
        base_id: what the config says the base is.
        scale: standard deviation of the factors' entries.
        lora: further settings of `peft.LoraConfig`.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"lora_alpha": 2 * r, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **lora}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=r, **settings))
    return _save_random(model, folder, seed=seed, base_id=base_id, scale=scale)


def write_tiny_reward(
    base: Path, folder: Path, *, r: int = 4, seed: int = 0, base_id: str = TINY_BASE_ID, scale: float = 0.2
) -> Path:
    """A reward model saved by peft: LoRA on all linear layers and a score head, all of it random."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    config = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="SEQ_CLS")
    return _save_random(get_peft_model(model, config), folder, seed=seed, base_id=base_id, scale=scale)


def _save_random(model: Any, folder: Path, *, seed: int, base_id: str, scale: float) -> Path:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    model.peft_config["default"].base_model_name_or_path = base_id
    model.save_pretrained(folder)
    return folder
