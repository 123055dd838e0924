"""A process starts in half the time: what it imports is not looked at by the garbage collector, then or later, and rich stays away.

And what it does afterwards is not looked at more often than it must be.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CONTAINERS_IN_HAND = 50_000
"""Lists, tuples and dictionaries that the batches under way hold at a time, and a good deal more; an entry is two lists."""


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
        collect_seldom()
        gc.enable()


def collect_seldom() -> None:
    """Look for cycles once there is more than what the batches under way hold, and not, as is the default, after every 700 objects.

    Batches hold no cycles and are freed as soon as they are done with. The collector met each several times on its way, with all
    the texts in it: a fifth of the CPU of analyzer, persister and gateway at their limit.
    """
    gc.set_threshold(CONTAINERS_IN_HAND, 10, 10)


def _import_structlog() -> None:
    """Without rich, which it imports wherever it is installed: 80 modules and 4 MB, for tracebacks in colours that nobody asks for."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # which is how Python is told that there is none
    try:
        import structlog  # noqa: F401  # not used here: who imports it next finds it without rich
    finally:
        del sys.modules["rich"]
