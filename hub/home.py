"""Where everything is kept: one home folder with the database, the store, the jobs and the prepared bases."""

import os
from pathlib import Path


def home_dir() -> Path:
    """The home folder: $MEDLEY_HOME, else the platform's folder for user data. It may not exist yet."""
    chosen = os.environ.get("MEDLEY_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("medley", appauthor=False))
