"""The lines of Python in a card that load an adapter and use it: one answer, or the score of one."""

import re
from typing import TYPE_CHECKING

from hub.reward_words import is_reward

if TYPE_CHECKING:
    from hub.records import Version

ASK = (
    "",
    'messages = [{"role": "user", "content": "Hello!"}]',
    'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", '
    "return_dict=True)",
    "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=100)[0]))",
)
SCORE = (
    "base.config.pad_token_id = None  # one answer at a time: the score is read at its last token",
    "",
    'messages = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi there!"}]',
    "text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip()",
    'inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")',
    "print(model(**inputs).logits.item())  # higher is better; only differences have a meaning",
)


def python_example(version: "Version", base: str, repo: str) -> str:
    """The code, line by line, with transformers and peft alone.

    Args:
        base: the Hub id of the base.
        repo: where the adapter is.
    """
    at = f', revision="{version.base_revision}"' if re.fullmatch(r"[\w./-]+", version.base_revision or "") else ""
    scores = is_reward(version.metadata)
    auto = "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"
    load = f'{auto}.from_pretrained("{base}"{at}{", num_labels=1" if scores else ""})'
    lines = [
        *("from peft import PeftModel", f"from transformers import {auto}, AutoTokenizer", ""),
        *(f'tokenizer = AutoTokenizer.from_pretrained("{base}"{at})', f"base = {load}"),
        f'model = PeftModel.from_pretrained(base, "{repo}")',
        *(SCORE if scores else ASK),
    ]
    return "\n".join(lines)
