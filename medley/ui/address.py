"""The page's address as memory: controls write themselves into the query, for a reload or somebody else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr


def keep_in_address(components: Mapping[str, gr.components.Component]) -> None:
    """Write each control's value into the page's query whenever it changes; runs in the browser alone."""
    for each in components.values():
        each.change(None, list(components.values()), None, js=put_query(list(components)), api_visibility="private")


def put_query(names: Sequence[str]) -> str:
    """A JavaScript function of the named values that puts them into the address; empty values leave it."""
    return f"""(...values) => {{
      const address = new URL(window.location.href);
      {json.dumps(list(names))}.forEach((name, i) => {{
        const value = values[i];
        if (value === null || value === undefined || value === '' || value.length === 0) {{
          address.searchParams.delete(name);
        }} else {{ address.searchParams.set(name, value); }}
      }});
      window.history.replaceState(window.history.state, '', address);
      return values;
    }}"""


GO = "(address) => { if (address) { window.location.assign(address); } }"  # the value is an address made by us


def go_when_set(target: gr.Textbox) -> dict[str, Any]:
    """Arguments for `.then(**…)`: leave for the address that the step before has put into a hidden text field."""
    return {"fn": None, "inputs": [target], "outputs": None, "js": GO, "api_visibility": "private"}
