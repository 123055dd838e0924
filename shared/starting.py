"""A process starts in half the time: what it imports is not looked at by the garbage collector, then or later, and rich stays away."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(importer: str) -> Iterator[None]:
    """For the time of the block, import what a program needs; `importer` is the `__name__` of the module that does.

    Modules live as long as the process. The collector goes through all of them a dozen times while they are imported, then
    whenever the heap has grown by a quarter, and again at the end: a third of the CPU of a start. Where a module is imported by
    others (`importer` is not `__main__`), theirs is the heap, and nothing is done.
    """
    if importer != "__main__":
        yield
        return
    gc.disable()
    try:
        _import_structlog()
        yield
    finally:
        gc.freeze()
        gc.enable()


def _import_structlog() -> None:
    """Without rich, which it imports wherever it is installed: 80 modules and 4 MB, for tracebacks in colours that nobody asks for."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # which is how Python is told that there is none
    try:
        import structlog  # noqa: F401  # not used here: who imports it next finds it without rich
    finally:
        del sys.modules["rich"]
