"""Why an embedded server cannot run; every text says what to do next."""

from dataclasses import dataclass
from pathlib import Path


class EmbeddedError(Exception):
    """An embedded server cannot run here; the text says why, and what to do."""


@dataclass(eq=False)
class NoServer(EmbeddedError):
    """There is no usable binary of the server `name` on this machine."""

    name: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"no usable {self.name} here ({self.reason}): {self.advice}"


@dataclass(eq=False)
class WrongData(EmbeddedError):
    """The data directory holds data that the binaries of this machine cannot read."""

    data_dir: Path
    holds: str
    found: str
    advice: str

    def __str__(self) -> str:
        return (
            f"{self.data_dir} holds data of {self.holds}, but here is {self.found}: {self.advice}, or remove {self.data_dir} to begin anew"
        )


@dataclass(eq=False)
class DataUnusable(EmbeddedError):
    """The data directory cannot be used: another run holds it, or it is somebody else's."""

    data_dir: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.data_dir} cannot be used: {self.reason}"


@dataclass(eq=False)
class ServerFailed(EmbeddedError):
    """The server ended, or did not answer; `last_lines` are what it wrote last to `log_file`."""

    name: str
    what: str
    log_file: Path
    last_lines: str

    def __str__(self) -> str:
        return f"{self.name} {self.what}; the last lines of {self.log_file}:\n{self.last_lines}"
