"""Whatever an entry may hold, its messages are of the contract; whatever command the contract allows, the gateway understands all of it."""

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.analyzer.state_machine import latest_json
from services.gateway import protocol
from services.gateway.protocol import ALL, Position, Subscribe, Unsubscribe, parse_command
from shared.events import ENRICHED_PATTERNS, MARKET_PATTERNS, TICKER, Enriched, Market, decimal_text, parse_enriched, parse_market
from tests.contract.judging import judge_command, judge_entry, judge_latest, judge_message


def text_of(pattern: str) -> st.SearchStrategy[str]:
    """Text that matches all of a pattern, ASCII alone."""
    return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))


AVERAGES = st.integers(0, 10**20 - 1).map(lambda number: decimal_text(Decimal(number).scaleb(-8)))
PRICES = AVERAGES.filter(lambda text: text != "0")
TICKERS = text_of(TICKER)
EVENTS = st.builds(
    Enriched,
    ticker=TICKERS, price=PRICES, sma=st.just("") | AVERAGES | st.just("1000000000000"),
    **{name: text_of(ENRICHED_PATTERNS[name]) for name in ("seq", "ts", "source", "tick_id", "alert")},
)  # fmt: skip
MARKETS = st.builds(Market, **{name: text_of(pattern) for name, pattern in MARKET_PATTERNS.items()})
INCARNATIONS = text_of(r"\d{1,17}-[0-9a-f]{8}")
POSITIONS = st.lists(st.builds(Position, INCARNATIONS, st.integers(0, 10**16)), min_size=1, max_size=64)


@settings(max_examples=50)
@given(event=EVENTS, incarnation=INCARNATIONS, partition=st.integers(0, 63), positions=POSITIONS)
def test_every_entry_becomes_a_message_of_the_contract(
    event: Enriched, incarnation: str, partition: int, positions: list[Position]
) -> None:
    assert parse_enriched(event._asdict()) == event
    judge_entry("enriched", event._asdict())
    judge_latest(event.ticker, latest_json(event))
    alerts = [protocol.encode_alert(event, incarnation, partition)] if event.alert else []
    for part in protocol.encode_update(
        int(event.ts), protocol.encode_cursor(positions), [protocol.encode_stock(event)], alerts, is_snapshot=True, skipped=1
    ):
        judge_message(part.decode())


@given(market=MARKETS)
def test_every_state_of_the_market_becomes_a_message_of_the_contract(market: Market) -> None:
    assert parse_market(market._asdict()) == market
    judge_entry("market", market._asdict())
    judge_message(protocol.encode_market(market).decode())


@given(action=st.sampled_from(["subscribe", "unsubscribe"]), tickers=st.lists(TICKERS | st.just("*"), max_size=20))
def test_every_subscription_of_the_contract_is_understood_whole(action: str, tickers: list[str]) -> None:
    text = json.dumps({"action": action, "tickers": tickers})
    judge_command(text)
    command = parse_command(text)
    assert isinstance(command, Subscribe | Unsubscribe)
    assert (command.tickers, command.malformed) == (ALL if "*" in tickers else frozenset(tickers), ())
