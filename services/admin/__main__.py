"""`python -m services.admin` and the console command `tickstream` are the same."""

import sys

from shared.starting import importing


def main() -> None:
    """Run the command line; a terminal that cannot show an arrow gets a question mark instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with importing(__name__):
        from services.admin.cli import app

    app(prog_name="tickstream")


if __name__ == "__main__":
    main()
