"""How processes of ours are started and what their ends mean: pure."""

import signal
import sys

REFUSED = 2
"""The exit code of one whose configuration is wrong: a new start would end the same way."""


def command_of(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of ours; -P goes on, so that our modules are found where ours were."""
    return (sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", module, *arguments)


def described(code: int) -> str:
    """An exit code (negative: a signal) in words: `exit code 1`, `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
