"""What the fetcher reads from the environment, beyond what every service does."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from shared.settings import DEFAULT_TICKERS, Settings, TickerList, lower

SOURCES = ("finnhub", "simulated", "replay")
LATER_SOURCES = ("finnhub-stream",)
INTERVAL_SECONDS = {"finnhub": 60.0}
"""Of each source whose default is not one second."""

_KEY = re.compile(r"[!-~]{1,256}", re.ASCII)
_BASE_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?", re.ASCII)


def _known_source(source: str) -> str:
    if source in LATER_SOURCES:
        raise ValueError("not available in this version")
    if source not in SOURCES:
        raise ValueError(f"must be one of {', '.join(SOURCES)}")
    return source


def _usable_key(key: SecretStr) -> SecretStr:
    # Finnhub answers an empty key as if there were too many calls: nobody would find that.
    if not _KEY.fullmatch(key.get_secret_value()):
        raise ValueError("must be the key alone: printable characters without blanks")
    return key


def _plain_base_url(url: str) -> str:
    if not _BASE_URL.fullmatch(url):
        raise ValueError("must be http:// or https://, a host and a path, without user, query or fragment")
    return url.rstrip("/")


class FetcherSettings(Settings):
    """Read once with `read_settings`, then passed on as values."""

    source: Annotated[str, AfterValidator(_known_source)] | None = None
    """None: chosen by what else is set: `finnhub` with a key, else `simulated`."""
    tickers: TickerList | None = None
    """None: the default ones when simulated, all of the file in a replay."""
    finnhub_api_key: Annotated[SecretStr, AfterValidator(_usable_key)] | None = Field(default=None, validate_default=True)
    """Sent in a header only."""
    finnhub_base_url: Annotated[str, AfterValidator(_plain_base_url)] = "https://finnhub.io/api/v1"
    """Of the REST calls."""
    fetch_interval_seconds: float | None = Field(default=None, ge=0.01, le=86_400, allow_inf_nan=False)
    """One tick per ticker and interval, aligned to the clock. None: 60 for `finnhub`, 1 for `simulated`."""
    market_hours: Annotated[Literal["auto", "always"], BeforeValidator(lower)] = "auto"
    """`auto`: a live source is asked only while the exchange trades."""
    exchange: str = Field(default="XNYS", pattern=r"^[A-Z0-9]{1,12}$")
    """Whose hours; ISO 10383."""
    simulated_rate: float = Field(default=0, ge=0, le=100_000, allow_inf_nan=False)
    """Ticks per second over all tickers; 0: one per ticker and cycle."""
    simulated_seed: str | None = Field(default=None, max_length=200)
    """Any text; the same one gives the same prices."""
    replay_file: Path | None = Field(default=None, validate_default=True)
    replay_speed: float = Field(default=0, ge=0, allow_inf_nan=False)
    """How many times faster than it happened; 0: as fast as it goes."""
    replay_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:\-]{1,64}$")
    """Names the run in Redis. None: a digest of file and tickers."""

    @field_validator("finnhub_api_key")
    @classmethod
    def _key_is_there(cls, key: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if key is None and others.data.get("source") == "finnhub":
            raise ValueError("must be set when SOURCE=finnhub; a free key is to be had at https://finnhub.io/register")
        return key

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
        if self.finnhub_api_key is not None:
            return "finnhub", "FINNHUB_API_KEY is set"
        return "simulated", "SOURCE is not set and no key is given"

    @property
    def interval_seconds(self) -> float:
        """FETCH_INTERVAL_SECONDS, or the default of the source."""
        return self.fetch_interval_seconds or INTERVAL_SECONDS.get(self.chosen_source[0], 1.0)

    @property
    def live_tickers(self) -> tuple[str, ...]:
        """TICKERS, or the default ones; a replay takes those of its file."""
        return self.tickers or tuple(DEFAULT_TICKERS.split(","))
