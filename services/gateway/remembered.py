"""What was made for one client of a crowd that comes at once is remembered for the next who asks the same, for a moment. Pure."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MOST = 64
"""Clients of a gateway that died have a few cursors and subscriptions among them; of a crowd without any two alike none is kept long."""


class Remembered(Generic[Key, Value]):
    """Values by what they depend on, besides the state in which they hold: whoever changes that calls `forget`."""

    def __init__(self) -> None:
        self._values: dict[Key, Value] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made now if it is not remembered; the one made first gives way."""
        if key not in self._values:
            value = make()
            while len(self._values) >= MOST:
                del self._values[next(iter(self._values))]
            self._values[key] = value
        return self._values[key]

    def forget(self) -> None:
        """Keep nothing."""
        self._values.clear()
