"""What `tickstream deadletters` was asked for, read from its arguments. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.admin.arguments import WrongInput, check_ticker
from services.admin.deadletter import GIVEN, ticker_of
from shared.deadletters import Letter

MOST_PARTITIONS = 64

_name = re.compile(r"(\d{1,2}):(\d{1,20}-\d{1,20})", re.ASCII).fullmatch

Name = tuple[int, str]
"""Partition and entry id of a letter."""


@dataclass(frozen=True)
class Filter:
    """Which letters are meant; empty: all."""

    reason: str = ""
    """A part of the reason, upper case or lower case."""
    ticker: str = ""
    partition: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return self.reason.lower() in letter.reason.lower() and self.ticker in ("", ticker_of(letter))

    def places(self, partitions: int) -> Sequence[int]:
        """The partitions where such letters may lie; raise `WrongInput` for one that is not there."""
        if self.partition is None:
            return range(partitions)
        if self.partition >= partitions:
            raise WrongInput(f"--partition {self.partition}: this deployment has {partitions}, from 0 on")
        return [self.partition]


@dataclass(frozen=True)
class Selection:
    """Letters by name, or all that a filter takes (`names` is empty)."""

    names: tuple[Name, ...]
    filter: Filter


def read_filter(reason: str, ticker: str, partition: int | None) -> Filter:
    """Read the options; raise `WrongInput` for the first bad one."""
    if ticker:
        check_ticker("--ticker", ticker)
    if partition is not None and not 0 <= partition < MOST_PARTITIONS:
        raise WrongInput(f"--partition {partition}: from 0 to {MOST_PARTITIONS - 1}")
    return Filter(reason, ticker, partition)


def read_selection(names: Sequence[str], wanted: Filter, *, is_all: bool) -> Selection:
    """Read the arguments of what changes letters; raise `WrongInput` unless it is plain which are meant."""
    if is_all == bool(names):
        raise WrongInput("give either names, as `tickstream deadletters list` shows them, or --all")
    if names and wanted != Filter():
        raise WrongInput("--reason, --ticker and --partition choose among --all; with names they mean nothing")
    return Selection(tuple(dict.fromkeys(map(read_name, names))), wanted)


def read_name(text: str) -> Name:
    """Read the name of a letter, PARTITION:ENTRY-ID; raise `WrongInput`."""
    found = _name(text)
    if not found:
        raise WrongInput(f"{text[:64]!r} is no name of a letter, such as 3:1795346662034-0; `tickstream deadletters list` shows them")
    return int(found[1]), found[2]


def read_given(settings: Sequence[str], names: Sequence[str]) -> Mapping[str, str]:
    """Read FIELD=VALUE texts; raise `WrongInput` for the first bad one, or if more than one letter would get them."""
    if settings and len(names) != 1:
        raise WrongInput("--set is for one letter: give its name alone")
    given = {}
    for setting in settings:
        field, _, value = setting.partition("=")
        if field not in GIVEN or not value:
            raise WrongInput(f"--set {setting[:64]!r}: give FIELD=VALUE, and as the field one of {', '.join(GIVEN)}")
        given[field] = value
    return given
