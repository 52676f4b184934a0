"""The app as a process of its own and a real browser in front of it; what a page must never show is collected here."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run")
SIZES = {"wide": (1360, 860), "narrow": (420, 860)}
START_S = 120
# When a page is left or the app is killed, requests end in the middle; the browser then says one of these.
CUT_OFF = (
    "aborted",
    "errored out",
    "err_connection",
    "failed to fetch",
    "network",
    "err_empty_response",
    "incomplete_chunked",
)
UNLABELED = """() => [...document.querySelectorAll('input, textarea, select, button, [role=slider], [role=combobox]')]
  .filter((each) => each.checkVisibility({visibilityProperty: true}) && each.type !== 'hidden')
  .filter((each) => !(each.getAttribute('aria-label') || each.title || each.innerText?.trim() || each.labels?.length
    || document.getElementById(each.getAttribute('aria-labelledby'))))
  .map((each) => each.outerHTML.slice(0, 160))"""
AT_REST = """async () => {
  const frame = () => new Promise((drawn) => requestAnimationFrame(drawn));
  await frame(); await frame();
  const ending = document.getAnimations().filter((each) => each.effect.getComputedTiming().endTime !== Infinity);
  await Promise.allSettled(ending.map((each) => each.finished));
  await frame(); }"""
OVERFLOWING = """() => [...document.querySelectorAll('.gradio-container *')]
  .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > window.innerWidth + 1)
  .filter((each) => { for (let at = each.parentElement; at; at = at.parentElement) {
     if (getComputedStyle(at).overflowX !== 'visible') { return false; } } return true; })
  .map((each) => each.outerHTML.slice(0, 160))"""


def find_chromium() -> str:
    """The path of a Chromium; root on Debian installs it when missing, otherwise the test skips with the line."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-qy", "chromium"], check=False, capture_output=True)
        found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no Chromium; install it with: sudo apt-get install chromium")
    return found


@contextmanager
def open_browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        yield browser
        browser.close()


class AppProcess:
    """The app on a free port, started as users start it; it can be killed and started again on the same port."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home, self.log = home, log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        code = f"import app; app.main(port={self.port})"
        environment = {**os.environ, "MEDLEY_HOME": str(self.home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.2)
        raise AssertionError(f"The app did not answer within {START_S} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


class Watched:
    """A tab whose console, page errors and foreign requests are collected."""

    def __init__(self, browser: "Browser", url: str) -> None:
        self.context = browser.new_context(viewport=dict(zip(("width", "height"), SIZES["wide"], strict=True)))
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)  # a busy machine is slow, not wrong
        self.url, self.faults = url, []
        self.page.on("console", lambda message: self._console(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind == "error" and not any(word in text.lower() for word in CUT_OFF):
            self.faults.append(f"console: {text}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"request to {url}")

    def open(self, path: str) -> "Page":
        """Go to a page and wait until it has been filled."""
        self.page.goto(f"{self.url}/{path}")
        self.page.locator("h1").first.wait_for()
        self.page.wait_for_load_state("load")
        return self.page

    def look(self, name: str, folder: Path) -> None:
        """Pictures in both sizes and themes; text that leaves the page, or a control without a label, is a fault."""
        for theme in ("light", "dark"):
            self.page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
            for size, (width, height) in SIZES.items():
                self.page.set_viewport_size({"width": width, "height": height})
                self.page.evaluate(AT_REST)
                self.page.screenshot(path=folder / f"{name}-{size}-{theme}.png", full_page=True)
                if theme == "light":
                    self.faults += [f"{name}, {size}: overflows: {html}" for html in self.page.evaluate(OVERFLOWING)]
        self.faults += [f"{name}: no label: {html}" for html in self.page.evaluate(UNLABELED)]
        self.page.evaluate("() => document.body.classList.remove('dark')")
        self.page.set_viewport_size(dict(zip(("width", "height"), SIZES["wide"], strict=True)))

    def close(self) -> None:
        self.context.close()


def field(page: "Page", label: str) -> "Locator":
    """The visible control whose label begins so; a label goes on with the field's help."""
    return page.get_by_label(re.compile(rf"^\s*{re.escape(label)}")).locator("visible=true").first


def choose(page: "Page", label: str, option: str) -> None:
    """Pick an option of a dropdown."""
    field(page, label).click()
    page.get_by_role("option", name=option, exact=True).first.click()


def limit_steps(page: "Page", steps: str) -> None:
    """Unfold the settings of rows and steps and set how many steps a run has, until the plan says so.

    Gradio gives a field its first value once more just after its fold has opened; what a program typed until then is
    lost. A person is not that fast.
    """
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    page.get_by_role("button", name="Rows and steps").locator("visible=true").click()
    told = page.locator("#train-plan").get_by_text(re.compile(rf"--max-steps\s+{steps}\b")).first
    for _ in range(30):
        field(page, "Max steps").fill(steps)
        field(page, "Max steps").blur()
        with suppress(PlaywrightTimeout):
            told.wait_for(timeout=2_000)
            return
    told.wait_for()
