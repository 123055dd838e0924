"""One log file per process, where a table has the terminal."""

from contextlib import suppress
from pathlib import Path

BIGGEST_BYTES = 10_000_000


class LogFiles:
    """Files `<name>.log` in a directory; a full one becomes `<name>.log.1` in place of the one before."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, name: str, line: str) -> None:
        """Append a line. A full disk costs log lines, not the pipeline."""
        file = self._directory / f"{name}.log"
        with suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            # Opened anew each time: who deletes or moves the file while we run gets a new one.
            with file.open("a", encoding="utf-8", errors="replace") as stream:
                stream.write(f"{line}\n")
                is_full = stream.tell() >= BIGGEST_BYTES
            if is_full:
                file.replace(f"{file}.1")
