"""The errors that decide what a loop does next: retry, dead-letter, stop writing, or refuse to start."""

from dataclasses import dataclass


class TransientError(Exception):
    """The other side is away or not ready: retry with back-off, nothing was decided."""


@dataclass(eq=False)
class NotReady(TransientError):
    """A server answers but cannot serve yet, for the `reason` it gives."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class InvalidEntry(Exception):
    """An input that can never be processed: dead-letter it with its reason, never retry."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class Fenced(Exception):
    """Somebody else holds the lease of this partition now: stop writing and drop what is held."""

    service: str
    partition: int

    def __str__(self) -> str:
        return f"the lease of {self.service} on partition {self.partition} is no longer ours"


@dataclass(frozen=True)
class Problem:
    """One wrong variable: its name, the value as it may be shown, and what is allowed."""

    variable: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.variable}={self.value}: {self.allowed}"


@dataclass(eq=False)
class ConfigurationError(Exception):
    """The environment is wrong: exit 2 with one line per bad variable; without a problem: somebody else has said it."""

    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
