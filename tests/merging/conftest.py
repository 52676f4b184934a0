"""What the tests of full models share."""

from pathlib import Path

import pytest

from tests.merging.llama_family import write_family


@pytest.fixture(scope="module")
def family(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders by the recipes' names."""
    from tests.tiny_model import write_tiny_adapter

    folder = tmp_path_factory.mktemp("family")
    found = write_family(tiny_base, folder)
    for seed, name in enumerate(("lora-a", "lora-b")):
        base = Path(found["org/base"])
        found[f"org/{name}"] = str(write_tiny_adapter(base, folder / name, seed=seed, base_id="org/base"))
    return found
