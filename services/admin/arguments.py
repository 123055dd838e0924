"""Arguments of the command line that cannot be meant: one line says which and what would do."""

from shared.events import is_ticker


class WrongInput(Exception):
    """An argument that cannot be meant; its text is the one line to show."""


def check_ticker(option: str, text: str) -> None:
    """Raise `WrongInput` if the text given for the option is no ticker."""
    if not is_ticker(text):
        raise WrongInput(f"{option} {text[:64]!r}: not a ticker, such as AAPL or BRK.B")
