"""How a command refuses what it was given: the reason on standard error, and exit code 2."""

import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from shared.errors import ConfigurationError
from shared.processes import REFUSED

if TYPE_CHECKING:
    from shared.settings import Settings

S = TypeVar("S", bound="Settings")


def read_or_refuse(model: type[S]) -> S:
    """Read the environment, or show one line per bad variable and exit with 2."""
    from shared.settings import read_settings  # the most of what a command imports: `--help` reads no environment

    try:
        return read_settings(model)
    except ConfigurationError as error:
        refuse(str(error))


def refuse(text: str) -> NoReturn:
    """Say why, and exit with 2."""
    print(text, file=sys.stderr)
    raise typer.Exit(REFUSED)
