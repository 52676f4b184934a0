"""Chat templates from strangers: good ones pass, each known attack ends with its sentence and ends soon."""

import pytest

from medley.lm import template_check
from medley.lm.template_check import template_problem
from tests.tiny_model import CHAT_TEMPLATE

WITH_GENERATION = (
    "{%- for message in messages %}{% if message.role == 'assistant' %}{% generation %}{{ message.content }}"
    "{% endgeneration %}{% else %}{{ message.content | tojson }}{% endif %}"
    "{% if loop.index > 9 %}{% break %}{% endif %}{% endfor %}{{ strftime_now('%Y') }}"
)
WITH_TOOLS = "{{ tools[0].function.name }}"
STRICT_ROLES = "{% if messages[1].role != 'user' %}{{ raise_exception('only users here') }}{% endif %}"


@pytest.mark.parametrize(
    "text",
    [CHAT_TEMPLATE, WITH_GENERATION, STRICT_ROLES, WITH_TOOLS],
    ids=["chatml", "generation", "strict roles", "wants tools"],
)
def test_ordinary_templates_pass(text: str) -> None:
    assert template_problem(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "reaches for Python's insides"),
        ("{{ messages.append.__globals__ }}", "reaches for Python's insides"),
        ("{{ messages.append(messages) }}", "reaches for Python's insides"),
        ("{{ 'x' * 10**9 }}", "needs too much memory"),
        ("{{ ('%0' ~ 10**9 ~ 'd') | format(1) }}", "needs too much memory"),
        ("{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "writes more than 1,000,000 characters"),
        ("{% for m in messages %}", "is not a valid template (line 1"),
        ("x" * 5_000_000, "has 5,000,000 bytes; at most 131,072 are accepted"),
    ],
    ids=["class-walk", "globals", "mutation", "huge", "huge-format", "long", "syntax", "5MB"],
)
def test_hostile_templates_are_named_with_the_reason(text: str, reason: str) -> None:
    assert template_problem(text).startswith(reason)


def test_nested_loops_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_check, "CPU_SECONDS", 1)
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    assert template_problem(loops) == "needs too much time or memory for two short messages"
