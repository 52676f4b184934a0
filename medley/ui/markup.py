"""The pieces of HTML that pages are made of. Words are escaped here, every time; arguments named `…_html` are ours.

Nothing that a user, a model or a dataset wrote reaches the page except through `escape`.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from medley.ui.numbers import exact_time, relative_time

TONES = {
    "ok": "good",
    "done": "good",
    "running": "busy",
    "stopping": "busy",
    "warning": "warn",
    "lost": "warn",
    "refused": "bad",
    "failed": "bad",
}


def escape(value: Any) -> str:
    """The text with everything that HTML could read as its own made harmless."""
    return html.escape(str(value), quote=True)


def chip(word: str, tone: str | None = None, title: str = "") -> str:
    """A small label; its colour comes from the word unless a tone (good, busy, warn, bad, plain) is given."""
    tone = tone or TONES.get(word, "plain")
    hint = f' title="{escape(title)}"' if title else ""
    return f'<span class="m-chip m-{tone}"{hint}>{escape(word)}</span>'


def digest(identity: str) -> str:
    """The first eight characters of an id; hovering shows, clicking copies the whole."""
    full = escape(identity)
    return f'<code class="m-digest" data-copy="{full}" title="{full} (click to copy)">{escape(identity[:8])}</code>'


def when(timestamp: float | None) -> str:
    """A relative time with the exact one on hover."""
    if timestamp is None:
        return "–"
    return f'<time title="{exact_time(timestamp)}">{relative_time(timestamp)}</time>'


def address(page: str, query: Mapping[str, str] | None = None) -> str:
    """A link target within the app; relative, so that it also works below a proxy's path."""
    return f"./{page}" + (f"?{urlencode(query)}" if query else "")


def link(page: str, text: str, query: Mapping[str, str] | None = None, *, css: str = "") -> str:
    """A link to a page of the app."""
    style = f' class="{css}"' if css else ""
    return f'<a href="{escape(address(page, query))}"{style}>{escape(text)}</a>'


def button_link(page: str, text: str, query: Mapping[str, str] | None = None, *, is_primary: bool = False) -> str:
    """A link that looks like a button."""
    return link(page, text, query, css="m-button m-primary" if is_primary else "m-button")


def action(text: str, name: str, value: str) -> str:
    """A small button whose click reaches the component's `click` listener as {name: value}; see `CLICKS`."""
    return f'<button type="button" class="m-button m-small" data-{name}="{escape(value)}">{escape(text)}</button>'


def page_head(title: str, text: str, side_html: str = "") -> str:
    """The heading of a page: what it is, one sentence, and room at the right."""
    side = f'<div class="m-side">{side_html}</div>' if side_html else ""
    return f'<header class="m-head"><div><h1>{escape(title)}</h1><p>{escape(text)}</p></div>{side}</header>'


def section(title: str, body_html: str, side_html: str = "") -> str:
    """A titled card."""
    side = f'<div class="m-side">{side_html}</div>' if side_html else ""
    return f'<section class="m-card"><div class="m-title"><h2>{escape(title)}</h2>{side}</div>{body_html}</section>'


def heading(title: str, note: str = "") -> str:
    """The title inside a panel of controls."""
    more = f"<p>{escape(note)}</p>" if note else ""
    return f'<div class="m-title"><h2>{escape(title)}</h2>{more}</div>'


def table(headers: Sequence[str], rows_html: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """A table; cells are HTML, headers are words, `numeric` columns stand at the right."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=m-num' if i in numeric else ''}>{value}</{tag}>" for i, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows_html)
    head = cells("th", [escape(header) for header in headers])
    whole = f'<table class="m-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="m-scroll">{whole}</div>'


def facts(pairs_html: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns; a name is a word, a value is HTML."""
    return (
        '<dl class="m-facts">'
        + "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs_html)
        + "</dl>"
    )


def notice(tone: str, text: str) -> str:
    """A sentence at the place it belongs to: good, warn, bad or plain. No text, no box."""
    if not text:
        return ""
    lines = "<br>".join(escape(line) for line in text.splitlines())
    role = "alert" if tone == "bad" else "status"
    return f'<div class="m-notice m-{tone}" role="{role}">{lines}</div>'


def empty(title: str, text: str, next_html: str = "") -> str:
    """What stands where nothing is yet: what this place is for, and the one next step."""
    return f'<div class="m-empty"><h3>{escape(title)}</h3><p>{escape(text)}</p>{next_html}</div>'


def code_block(text: str, *, wrap: bool = False) -> str:
    """Text in fixed width, with its own scrollbar (or long lines wrapped) and a button that copies it."""
    css = "m-code m-wrap" if wrap else "m-code"
    return (
        f'<div class="{css}"><button type="button" class="m-button m-small" data-copy="{escape(text)}">Copy</button>'
        f'<pre tabindex="0">{escape(text)}</pre></div>'
    )


def progress_bar(share: float | None, label: str) -> str:
    """A bar from 0 to 1; None is a bar that only says that something is going on."""
    if share is None:
        return f'<div class="m-bar m-unknown" role="progressbar" aria-label="{escape(label)}"><i></i></div>'
    percent = round(100 * min(1.0, max(0.0, share)))
    return (
        f'<div class="m-bar" role="progressbar" aria-label="{escape(label)}" aria-valuenow="{percent}" '
        f'aria-valuemin="0" aria-valuemax="100"><i style="width:{percent}%"></i></div>'
    )


# For gr.HTML(js_on_load=…): a click on a button made by `action` becomes an event with the button's data.
CLICKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-job], button[data-alias], button[data-file], button[data-row]');
  if (button) { trigger('click', {...button.dataset}); }
});
"""
