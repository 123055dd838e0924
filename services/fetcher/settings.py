"""What the fetcher reads from the environment, beyond what every service does."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from shared.settings import DEFAULT_TICKERS, Settings, TickerList

SOURCES = ("simulated", "replay")
LATER_SOURCES = ("finnhub", "finnhub-stream")


def _known_source(source: str) -> str:
    if source in LATER_SOURCES:
        raise ValueError("not available in this version")
    if source not in SOURCES:
        raise ValueError(f"must be one of {', '.join(SOURCES)}")
    return source


class FetcherSettings(Settings):
    """Read once with `read_settings`, then passed on as values."""

    source: Annotated[str, AfterValidator(_known_source)] | None = None
    """None: chosen by what else is set; without a key that is `simulated`."""
    tickers: TickerList | None = None
    """None: the default ones when simulated, all of the file in a replay."""
    fetch_interval_seconds: float = Field(default=1, ge=0.01, le=86_400, allow_inf_nan=False)
    """The cycle of the simulator when it has no rate of its own."""
    simulated_rate: float = Field(default=0, ge=0, le=100_000, allow_inf_nan=False)
    """Ticks per second over all tickers; 0: one per ticker and cycle."""
    simulated_seed: str | None = Field(default=None, max_length=200)
    """Any text; the same one gives the same prices."""
    replay_file: Path | None = Field(default=None, validate_default=True)
    replay_speed: float = Field(default=0, ge=0, allow_inf_nan=False)
    """How many times faster than it happened; 0: as fast as it goes."""
    replay_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:\-]{1,64}$")
    """Names the run in Redis. None: a digest of file and tickers."""

    @field_validator("replay_file")
    @classmethod
    def _file_can_be_read(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if others.data.get("source") != "replay":
            return path
        if path is None:
            raise ValueError("must name a CSV file when SOURCE=replay")
        # A pipe cannot be read again after a restart.
        if not path.is_file() or not os.access(path, os.R_OK):
            raise ValueError("must name a file that can be read")
        return path

    @property
    def chosen_source(self) -> tuple[str, str]:
        """The source and why it is this one."""
        if self.source is not None:
            return self.source, f"SOURCE={self.source}"
        return "simulated", "SOURCE is not set and no key is given"

    @property
    def simulated_tickers(self) -> tuple[str, ...]:
        """TICKERS, or the default ones."""
        return self.tickers or tuple(DEFAULT_TICKERS.split(","))
