"""The deterministic state machine of one partition: entries of `ticks:{p}` in, what `commit` takes out. Pure.

Its state is windows and sides; both are committed with every outcome, so that any process can go on from there.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from services.analyzer.crossover import NO_ALERT, ON, crossover, side_of
from services.analyzer.moving_average import Window
from shared.commits import Digest, Entries, Outcome, State
from shared.errors import InvalidEntry
from shared.events import tick_values
from shared.sequence import SequenceCheck

_encode_json = msgspec.json.Encoder().encode


class _TickerState:
    __slots__ = ("side", "window")

    def __init__(self, window: Window, side: int = ON) -> None:
        self.window = window
        self.side = side

    def judge(self, price: Decimal) -> tuple[str, str]:
        """Take in a price; return the average (empty until warm) and the alert (mostly empty)."""
        window = self.window
        if not window.push(price):
            return "", NO_ALERT
        before, now = self.side, side_of(price, window)
        if now in (before, ON):
            return window.average_text(), NO_ALERT
        self.side = now
        return window.average_text(), crossover(before, now)


class StateMachine:
    """Windows, sides and cursor of a partition, as of the last entry that was digested.

    What it holds is ahead of what is committed by at most one batch; after any answer but OK or DUP it is thrown away
    and loaded anew.
    """

    def __init__(self, state: State) -> None:
        self.cursor = state.cursor
        self._period = state.period
        self._passed = state.passed
        self._sequence = SequenceCheck(state.seq)
        self._tickers = {
            ticker: _TickerState(Window(state.period, map(Decimal, prices)), state.sides.get(ticker, ON))
            for ticker, prices in state.prices.items()
        }

    def digest(self, entries: Entries, newest_seq: int) -> Digest:
        """Judge a non-empty batch; `newest_seq` is the last seq that was assigned when it was read."""
        prices: dict[str, list[str]] = {}
        events: list[str] = []
        newest: dict[str, int] = {}  # where in `events` the last one of a ticker begins
        sides: dict[str, int] = {}
        deadletters: list[str] = []
        missing: list[tuple[int, int]] = []
        advance, tickers = self._sequence.advance, self._tickers
        for entry_id, entry in entries:
            try:
                seq, ticker, price, ts, source, _, _, _ = tick_values(entry)
                lost = advance(int(seq), newest_seq)
            except InvalidEntry as invalid:
                deadletters += (entry_id, str(invalid), _text_of(entry))
                self._sequence.refuse(entry, newest_seq)
                continue
            if lost:
                missing.extend(self._sequence.holes(int(seq), lost))
            state = tickers.get(ticker) or self._begin(ticker)
            before = state.side
            sma, alert = state.judge(Decimal(price))
            if state.side != before:
                sides[ticker] = state.side
            newest[ticker] = len(events)
            events += (seq, ticker, price, ts, source, entry_id, sma, alert)
            if ticker in prices:
                prices[ticker].append(price)
            else:
                prices[ticker] = [price]
        self._passed += len(entries) + sum(last - first + 1 for first, last in missing)
        outcome = Outcome(
            prices={ticker: texts[-self._period :] for ticker, texts in prices.items()},
            events=events,
            latest=[text for ticker, at in newest.items() for text in (ticker, latest_json(events[at : at + 8]))],
            sides=[text for ticker, side in sides.items() for text in (ticker, str(side))],
            deadletters=deadletters,
        )
        previous, self.cursor = self.cursor, entries[-1][0]
        return Digest(previous, self.cursor, self._sequence.last, self._passed, tuple(missing), outcome)

    def _begin(self, ticker: str) -> _TickerState:
        state = self._tickers[ticker] = _TickerState(Window(self._period))
        return state


def latest_json(event: Sequence[str]) -> str:
    """The value of a ticker in `latest:{p}` for the values of an `Enriched`: numbers are the stream's own characters, `ts` in epoch ms.

    No value needs escaping: `tick_values` admits only plain characters.
    """
    seq, ticker, price, ts, source, _, sma, alert = event
    alert_json = f'"{alert}"' if alert else "null"
    return f'{{"ticker":"{ticker}","price":{price},"sma":{sma or "null"},"alert":{alert_json},"ts":{ts},"source":"{source}","seq":{seq}}}'


def _text_of(entry: Sequence[str]) -> str:
    return _encode_json(dict(zip(entry[::2], entry[1::2], strict=True))).decode()
