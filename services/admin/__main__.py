"""`python -m services.admin` and the console command `tickstream` are the same."""

import sys


def main() -> None:
    """Run the command line; a terminal that cannot show an arrow gets a question mark instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    from services.admin.cli import app

    app(prog_name="tickstream")


if __name__ == "__main__":
    main()
