"""Torch, transformers, peft and trl loaded, and left at the end, in two thirds of the time that they take by nature."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

COMPILES_NOTHING = "TORCHDYNAMO_DISABLE"  # read by torch.compile whenever it is called


@contextlib.contextmanager
def import_quickly() -> Iterator[None]:
    """The great libraries are imported inside; the modules are the same as after a plain import.

    They make a million objects, which stay. Python's collector looks through them again and again, in vain: it rests
    here and passes them over later, the last time being the end of the process. And bitsandbytes marks functions of
    optimizers that we do not use to be compiled, which would load the compiler.
    """
    is_collecting, chosen, known = gc.isenabled(), os.environ.get(COMPILES_NOTHING), len(sys.modules)
    gc.disable()
    os.environ[COMPILES_NOTHING] = "1"
    try:
        yield
    finally:
        if chosen is None:
            del os.environ[COMPILES_NOTHING]
        else:
            os.environ[COMPILES_NOTHING] = chosen
        if len(sys.modules) > known:
            gc.freeze()
        if is_collecting:
            gc.enable()
