"""What we have and where: the registry of versions, and the way in from and out to folders, archives and the Hub.

    from hub import open_registry
    registry = open_registry()
    version = registry.publish("adapter", "pirate", folder)

Importing this loads nothing else; a name of the table below loads the module it lives in when it is first used.
Never torch: the maths and the models live elsewhere and know nothing of names.
"""

import importlib
from typing import Any

_HOMES = {
    "ANY": "hub.aliases",
    "AliasMove": "hub.aliases",
    "FileEntry": "hub.manifest",
    "GcReport": "hub.gc",
    "KINDS": "hub.records",
    "Lineage": "hub.lineage",
    "Parent": "hub.manifest",
    "Problem": "hub.verify",
    "Registry": "hub.registry",
    "VerifyReport": "hub.verify",
    "Version": "hub.records",
    "home_dir": "hub.home",
    "open_registry": "hub.registry",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hub' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
