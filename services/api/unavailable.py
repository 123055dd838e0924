"""The one error for a server that cannot be asked now."""

from dataclasses import dataclass

from shared.errors import TransientError


@dataclass(eq=False)
class Unavailable(TransientError):
    """`what` (Redis, PostgreSQL) cannot answer now, for the `reason` that its driver gives: the same question may be answered later."""

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} cannot be asked now: {self.reason}"
