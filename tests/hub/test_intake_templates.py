"""Chat templates of somebody's adapter: hostile ones are refused on import, and none is ever rendered with a prompt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry
from hub.intake import import_adapter
from medley.errors import AdapterFormatError
from medley.lm.engine import Engine, Pane, Sampling
from medley.lm.load import load_base
from tests.lm.adapter_writing import write_adapter
from tests.tiny_model import CHAT_TEMPLATE

HOSTILE = {
    "class walk": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "reaches for Python's insides"),
    "nested loops": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "needs too much time or memory for two short messages",
    ),
    "huge string": ("{{ 'a' * 20000000000 }}", "needs too much memory for two short messages"),
}


def in_a_file(folder: Path, template: str) -> str:
    (folder / "chat_template.jinja").write_text(template)
    return "chat_template.jinja"


def in_the_settings(folder: Path, template: str) -> str:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return "tokenizer_config.json"


def in_a_list(folder: Path, template: str) -> str:
    named = [{"name": "default", "template": CHAT_TEMPLATE}, {"name": "tool_use", "template": template}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    return "tokenizer_config.json"


@pytest.mark.parametrize("place", [in_a_file, in_the_settings, in_a_list])
@pytest.mark.parametrize(("template", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_refused(
    registry: Registry, tmp_path: Path, template: str, reason: str, place: Callable[[Path, str], str]
) -> None:
    folder = write_adapter(tmp_path / "pirate")
    name = place(folder, template)
    with pytest.raises(AdapterFormatError) as caught:
        import_adapter(registry, folder, "pirate")
    assert str(caught.value) == f"The chat template in {name} {reason}. Remove it; the base's own is used."
    assert registry.list() == []


def test_an_adapters_own_template_is_kept_and_never_rendered(
    registry: Registry, tiny_base: Path, make_adapter: Callable[..., Path]
) -> None:
    """The same weights with and without a template that would raise: the same answer, by the base's template."""
    plain = make_adapter("plain", seed=1)
    folder = make_adapter("pirate", seed=1)
    in_a_file(folder, "{{ raise_exception('rendered') }}")
    version, _ = import_adapter(registry, folder, "pirate")
    assert (version.path / "chat_template.jinja").read_text() == "{{ raise_exception('rendered') }}"
    engine = Engine(load_base(tiny_base, device="cpu", dtype="float32"))
    engine.add("plain", plain)
    engine.add("pirate", version.path)
    question = ({"role": "user", "content": "Ahoy?"},)
    panes = [Pane(question, {"plain": 1.0}), Pane(question, {"pirate": 1.0})]
    first, second = engine.generate(panes, Sampling(max_new_tokens=8))
    assert first.text == second.text != ""
