"""Progress bars and notes of the libraries below us, kept away from the user's terminal while a model is loaded."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

# It proposes to install `kernels`, which fetches code when imported; Medley never does.
SILENCED = ("bitsandbytes.backends.cpu.ops",)


def silence_proposals() -> None:
    """bitsandbytes' proposal is made whenever the library is first imported, so it is silenced for good before."""
    for name in SILENCED:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Only errors of transformers are printed inside; its former settings come back after."""
    from transformers.utils import logging as transformers_logging

    verbosity, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    silence_proposals()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()
