"""One push to the real Hub, with Xet, for whoever has a token and a private repo to spare; skipped otherwise.

The loopback Hub of the other tests speaks LFS only. To run it:
MEDLEY_TEST_HUB_TOKEN=hf_… MEDLEY_TEST_HUB_REPO=you/scratch python -m pytest tests/hub/test_push_live.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hub import Registry
from tests.hub.adapters import publish_pirate

ROOT = Path(__file__).resolve().parents[2]
TOKEN, REPO = os.environ.get("MEDLEY_TEST_HUB_TOKEN"), os.environ.get("MEDLEY_TEST_HUB_REPO")


@pytest.mark.skipif(not (TOKEN and REPO), reason="needs MEDLEY_TEST_HUB_TOKEN and MEDLEY_TEST_HUB_REPO")
def test_a_push_to_the_real_hub(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src", licence="mit")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    for _ in range(2):  # the second one finds everything there
        result = subprocess.run(
            [sys.executable, "-m", "tests.hub.push_driver", str(registry.home), "pirate", REPO],
            cwd=ROOT,
            env=environment,
            input=TOKEN,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        assert re.fullmatch(r"[0-9a-f]{40}", result.stdout.strip())
