"""How a program starts, seen from within one."""

import subprocess
import sys

PROGRAM = """
import gc, sys
from shared.starting import importing
with importing(sys.argv[1]):
    import shared.settings
print(gc.isenabled(), gc.get_freeze_count() > 1000, gc.get_threshold()[0])
"""


def state_after(importer: str) -> str:
    """What a program that imports under this name says of its collector."""
    command = (sys.executable, "-c", PROGRAM, importer)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_in_a_program_the_collector_passes_over_what_was_imported_and_looks_at_batches_seldom() -> None:
    assert state_after("__main__") == "True True 50000"


def test_a_module_that_others_import_leaves_their_collector_alone() -> None:
    assert state_after("services.analyzer.__main__") == "True False 700"
