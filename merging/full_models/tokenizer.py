"""The part of a full-model recipe that says how its tokenizer is made: mergekit's two forms, and the chat template."""

from collections.abc import Mapping
from typing import Any

from medley.errors import RecipeError
from medley.options import unknown_key
from merging.recipes.reference import parse_reference

SOURCES = ("union", "base")
TOKENIZER_KEYS = ("source", "tokens", "pad_to_multiple_of")
TOKEN_KEYS = ("source", "force")
MODEL_TOKEN_KEYS = ("kind", "model", "token", "token_id")
CHAT_TEMPLATES = ("auto", "alpaca", "chatml", "exaone", "llama3", "mistral")
SHORTEST_TEMPLATE = 20  # characters; anything shorter is a misspelt name


def read_tokenizer(raw: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The keys `tokenizer` or `tokenizer_source`, checked; empty where neither is given."""
    if raw.get("tokenizer") and raw.get("tokenizer_source"):
        problems.append("tokenizer_source is the old form of tokenizer: {source: …}. Keep one of them.")
        return {}
    if raw.get("tokenizer_source"):
        return {"tokenizer_source": _read_source(raw["tokenizer_source"], "tokenizer_source", problems)}
    value = raw.get("tokenizer")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problems.append(f"tokenizer must be a mapping with 'source', got {value!r}.")
        return {}
    problems += [f"tokenizer: {unknown_key(str(key), TOKENIZER_KEYS)}" for key in value if key not in TOKENIZER_KEYS]
    read = {"source": _read_source(value.get("source", "union"), "tokenizer.source", problems)}
    multiple = value.get("pad_to_multiple_of")
    if multiple is not None and (type(multiple) is not int or multiple < 1):
        problems.append(f"tokenizer.pad_to_multiple_of must be a whole number of at least 1, got {multiple!r}.")
    elif multiple is not None:
        read["pad_to_multiple_of"] = multiple
    tokens = value.get("tokens") or {}
    if not isinstance(tokens, Mapping):
        problems.append(f"tokenizer.tokens must map tokens to their source, got {tokens!r}.")
    elif tokens:
        read["tokens"] = {str(token): _read_token(each, f"token '{token}'", problems) for token, each in tokens.items()}
    return {"tokenizer": read}


def read_chat_template(value: Any, problems: list[str]) -> str | None:
    """The name of a template, or its own text."""
    is_text = isinstance(value, str) and len(value) >= SHORTEST_TEMPLATE and "{" in value
    if value is None or value in CHAT_TEMPLATES or is_text:
        return value
    problems.append(f"chat_template must be one of {', '.join(CHAT_TEMPLATES)}, or a Jinja template, got {value!r}.")
    return None


def _read_source(value: Any, where: str, problems: list[str]) -> Any:
    if value in SOURCES:
        return value
    try:
        return parse_reference(value)
    except RecipeError:
        problems.append(f"{where} must be union, base or a model, got {value!r}.")
        return None


def _read_token(raw: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """Where a token's embedding comes from: a model, one token of a model, or zero."""
    if not isinstance(raw, Mapping):
        problems.append(f"{where} needs 'source', got {raw!r}.")
        return {}
    problems += [f"{where}: {unknown_key(str(key), TOKEN_KEYS)}" for key in raw if key not in TOKEN_KEYS]
    if not isinstance(raw.get("force", False), bool):
        problems.append(f"{where}: force must be true or false, got {raw['force']!r}.")
    read = {"force": True} if raw.get("force") is True else {}
    source = raw.get("source")
    if source is None:
        return read
    if not isinstance(source, Mapping) or source.get("kind") is None:
        return {"source": _read_source(source, f"{where}: source", problems), **read}
    problems += [
        f"{where}: source: {unknown_key(str(key), MODEL_TOKEN_KEYS)}" for key in source if key not in MODEL_TOKEN_KEYS
    ]
    if source["kind"] == "zero":
        return {"source": {"kind": "zero"}, **read}
    given = [key for key in ("token", "token_id") if source.get(key) is not None]
    if source["kind"] != "model_token" or len(given) != 1:
        problems.append(f"{where}: source must be kind: zero, or kind: model_token with one of token and token_id.")
        return read
    model = _read_source(source.get("model"), f"{where}: source.model", problems)
    return {"source": {"kind": "model_token", "model": model, given[0]: source[given[0]]}, **read}
