"""The deterministic state machine of one partition: entries of `ticks:{p}` in, what `commit` takes out. Pure.

Its state is windows and sides; both are committed with every outcome, so that any process can go on from there.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from services.analyzer.crossover import NO_ALERT, ON, crossover, side_of
from services.analyzer.moving_average import Window
from shared.commits import Digest, Entries, Outcome, State
from shared.errors import InvalidEntry
from shared.events import Enriched, Tick, parse_tick
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
        window.push(price)
        if len(window.prices) < window.period:
            return "", NO_ALERT
        now = side_of(price, window)
        alert = crossover(self.side, now)
        if now != ON:
            self.side = now
        return window.average_text(), alert


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
        newest: dict[str, Enriched] = {}
        sides: dict[str, str] = {}
        deadletters: list[str] = []
        missing: list[tuple[int, int]] = []
        for entry_id, fields in entries:
            try:
                tick = parse_tick(fields)
                seq = int(tick.seq)
                lost = self._sequence.advance(seq, newest_seq)
            except InvalidEntry as invalid:
                deadletters += (entry_id, str(invalid), _text_of(fields))
                continue
            if lost:
                missing.append((seq - lost, seq - 1))
            ticker = tick.ticker
            event = self._judge(tick, entry_id, sides)
            events += event
            newest[ticker] = event
            if ticker in prices:
                prices[ticker].append(tick.price)
            else:
                prices[ticker] = [tick.price]
        self._passed += len(entries) + sum(last - first + 1 for first, last in missing)
        outcome = Outcome(
            prices={ticker: texts[-self._period :] for ticker, texts in prices.items()},
            events=events,
            latest=[text for event in newest.values() for text in (event.ticker, latest_json(event))],
            sides=[text for pair in sides.items() for text in pair],
            deadletters=deadletters,
        )
        previous, self.cursor = self.cursor, entries[-1][0]
        return Digest(previous, self.cursor, self._sequence.last, self._passed, tuple(missing), outcome)

    def _judge(self, tick: Tick, entry_id: str, sides: dict[str, str]) -> Enriched:
        state = self._tickers.get(tick.ticker)
        if state is None:
            state = self._tickers[tick.ticker] = _TickerState(Window(self._period))
        before = state.side
        sma, alert = state.judge(Decimal(tick.price))
        if state.side != before:
            sides[tick.ticker] = str(state.side)
        return Enriched(tick.seq, tick.ticker, tick.price, tick.ts, tick.source, entry_id, sma, alert)


def latest_json(event: Enriched) -> str:
    """The value of a ticker in `latest:{p}`: numbers are the stream's own characters, `ts` in epoch milliseconds.

    No value needs escaping: `parse_tick` admits only plain characters.
    """
    alert = f'"{event.alert}"' if event.alert else "null"
    return (
        f'{{"ticker":"{event.ticker}","price":{event.price},"sma":{event.sma or "null"},"alert":{alert},'
        f'"ts":{event.ts},"source":"{event.source}","seq":{event.seq}}}'
    )


def _text_of(fields: Mapping[str, str]) -> str:
    return _encode_json(fields).decode()
