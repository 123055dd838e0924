"""How a gateway that goes away parts with its clients: at a rate, so that they neither leave nor come back at one moment. Pure."""

from services.gateway.close_codes import FIRST_HINT_SECONDS, LAST_HINT_SECONDS

MOST_SECONDS = 4.0
"""Until the last client is asked to go; well within the grace, for each may take a while to answer."""
LEAST_PER_SECOND = 100.0
"""A few clients take no time."""
RETURNS_PER_SECOND = 500.0
"""How many the other gateways are to get back in a second, whatever their number."""


class Draining:
    """How many of `clients` must have been asked to go, `began` being seconds of some clock."""

    def __init__(self, clients: int, began: float) -> None:
        self._began = began
        self._per_second = max(LEAST_PER_SECOND, clients / MOST_SECONDS)
        self.last_hint_seconds = max(LAST_HINT_SECONDS, FIRST_HINT_SECONDS + clients / RETURNS_PER_SECOND)
        """The longest that a client is asked to stay away: a crowd comes back spread over the time it needs."""

    def due(self, now: float) -> int:
        """How many, at `now`; the first at once."""
        return 1 + int((now - self._began) * self._per_second)
