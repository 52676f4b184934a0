"""A workspace on an empty home, one with a tiny base, a dataset and two adapters; an app with a browser at it."""

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub import Parent, Registry, Version
from medley.ui.workspace import Workspace
from tests.hub_server.fixtures import hub_client_online, hub_server, loopback_only  # noqa: F401 - fixtures
from tests.tiny_model import TINY_BASE_ID
from tests.ui.browser import AppProcess, Watched, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "<style>body{display:none}</style>",
    "<a href='javascript:alert(1)'>x</a>",
    "![](http://example.org/beacon.png)",
    '<img src="data:image/svg+xml;base64,PHN2Zy8+">',
)


@pytest.fixture
def workspace(medley_home: Path) -> Workspace:
    """An app on an empty home."""
    return Workspace(medley_home)


@pytest.fixture
def read_only(medley_home: Path) -> Workspace:
    """The same home as a visitor of a Space sees it."""
    return Workspace(medley_home, is_read_only=True)


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return workspace.registry


@pytest.fixture
def base(registry: Registry, tiny_base: Path) -> Version:
    from medley.jobs import add_base

    return add_base(registry, tiny_base, "tiny-base", hub_id=TINY_BASE_ID)


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Twenty rows in the Alpaca format; the first answer is hostile."""
    rows = [{"instruction": f"What is {n} plus one?", "output": f"It is {n + 1}."} for n in range(20)]
    rows[0]["output"] = " ".join(HOSTILE)
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def dataset(registry: Registry, rows_file: Path, tmp_path: Path) -> Version:
    """The rows, imported: 18 to learn from, 2 to measure on."""
    from medley.corpus import import_dataset

    report = import_dataset(rows_file, tmp_path / "imported", licence="cc0-1.0")
    metadata = {"kind": report.kind, "format": report.format, "rows": sum(report.rows.values()),
                "splits": dict(report.rows), "licence": report.licence, "source": report.source}  # fmt: skip
    return registry.publish("dataset", "sums", tmp_path / "imported", metadata=metadata)


@pytest.fixture
def adapters(registry: Registry, base: Version, make_adapter: Callable[..., Path]) -> tuple[Version, Version]:
    """Two adapters of the tiny base, `left` and `right`; the first one's description is hostile."""
    left = registry.publish(
        "adapter", "left", make_adapter("left", seed=1), base=TINY_BASE_ID, parents=[Parent(base.id, "base")],
        metadata={"trainer": "sft", "rank": 4, "base_name": "tiny-base", "description": " ".join(HOSTILE),
                  "metrics": {"eval_loss": 1.25}},
    )  # fmt: skip
    right = registry.publish(
        "adapter", "right", make_adapter("right", seed=2), base=TINY_BASE_ID, parents=[Parent(base.id, "base")],
        metadata={"trainer": "sft", "rank": 4, "base_name": "tiny-base"},
    )  # fmt: skip
    return left, right


class _Elements(HTMLParser):
    """The elements and attributes that a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_harmless(html: str) -> None:
    """Nothing in it runs, loads from elsewhere or restyles the page."""
    parser = _Elements()
    parser.feed(html)
    for tag, attributes in parser.found:
        assert tag not in {"img", "script", "style", "iframe", "object", "embed", "base", "form"}, tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "./").startswith("./"), attributes[name]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def tiny_registry(medley_home: Path, tiny_base: Path) -> Iterator[Registry]:
    """A registry in which the tiny base is known, for the app that a browser looks at."""
    from hub import open_registry
    from medley.jobs import add_base

    opened = open_registry(medley_home)
    add_base(opened, tiny_base, "tiny-base", hub_id=TINY_BASE_ID)
    yield opened
    opened.close()


@pytest.fixture
def unpacked_before(medley_home: Path, request: pytest.FixtureRequest) -> None:
    """The bundled base, where there is one, is in the app's home already: it is unpacked once for all tests."""
    from medley.lm.bundled import bundled_gguf

    if bundled_gguf() is not None:
        folder = request.getfixturevalue("bundled_base")
        (medley_home / "bases").mkdir(parents=True, exist_ok=True)
        (medley_home / "bases" / folder.name).symlink_to(folder)


@pytest.fixture
def app(medley_home: Path, tmp_path: Path, tiny_registry: Registry, unpacked_before: None) -> Iterator[AppProcess]:
    process = AppProcess(medley_home, tmp_path / "app.log")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def tab(browser: "Browser", app: AppProcess) -> Iterator[Watched]:
    watched = Watched(browser, app.url)
    yield watched
    watched.close()
