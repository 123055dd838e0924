"""What a client's text means, and the exact JSON it is sent."""

import json
from base64 import urlsafe_b64decode
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import protocol
from services.gateway.protocol import ALL, MOST_TICKERS, Auth, Error, ErrorCode, Ping, Position, Subscribe, Unsubscribe
from shared.events import Enriched

NOW_MS = 1771105102104
NOW = "2026-02-14T21:38:22.104+00:00"


def enriched(ticker: str = "AAPL", seq: int = 812, price: str = "255.78", sma: str = "254.32", alert: str = "") -> Enriched:
    return Enriched(str(seq), ticker, price, "1771105101950", "simulated", "1-0", sma, alert)


def decode(part: bytes) -> dict[str, object]:
    message: dict[str, object] = json.loads(part, parse_float=Decimal)
    return message


def test_stock_has_the_fields_of_the_contract_and_the_numbers_of_the_stream() -> None:
    assert protocol.encode_stock(enriched(price="0.10000001", sma="")) == (
        '{"ticker":"AAPL","price":0.10000001,"sma":null,"alert":null,"ts":"2026-02-14T21:38:21.950+00:00","seq":812}'
    )


def test_price_that_no_float_holds_arrives_verbatim() -> None:
    assert '"price":999999999999.99999999,' in protocol.encode_stock(enriched(price="999999999999.99999999"))


def test_alert_has_the_fields_of_the_contract_and_an_id_of_three_parts() -> None:
    text = protocol.encode_alert(enriched("MSFT", 790, "401.32", "399.8", "bullish"), "1795346662034123-3fa9c1d2", 0)
    assert text == (
        '{"id":"1795346662034123-3fa9c1d2.0.790","ticker":"MSFT","direction":"bullish","price":401.32,"sma":399.8,'
        '"ts":"2026-02-14T21:38:21.950+00:00","seq":790}'
    )


def test_update_has_the_fields_of_the_contract_in_its_order() -> None:
    (part,) = protocol.encode_update(NOW_MS, "c", ['{"a":1}'], ['{"b":2}'], is_snapshot=True)
    assert part == (
        b'{"type":"stock_update","timestamp":"%b","cursor":"c","snapshot":true,"stocks":[{"a":1}],"alerts":[{"b":2}]}' % NOW.encode()
    )


def test_loss_says_recovered_false_and_why() -> None:
    (part,) = protocol.encode_update(NOW_MS, "c", [], is_snapshot=True, is_recovered=False, reason="rewind", skipped=3)
    message = decode(part)
    assert (message["snapshot"], message["recovered"], message["reason"], message["skipped"]) == (True, False, "rewind", 3)


def test_thousand_entries_are_one_message_and_one_more_are_two() -> None:
    assert len(protocol.encode_update(NOW_MS, "c", ["1"] * 1000, ["2"] * 1000)) == 1
    assert len(protocol.encode_update(NOW_MS, "c", ["1"] * 1001)) == 2
    assert len(protocol.encode_update(NOW_MS, "c", [], ["2"] * 1001)) == 2


@given(st.integers(0, 4100), st.integers(0, 4100))
def test_parts_hold_every_entry_once_and_only_the_last_has_a_cursor(stocks: int, alerts: int) -> None:
    parts = protocol.encode_update(
        NOW_MS, "c", [str(n) for n in range(stocks)], [str(n) for n in range(alerts)], is_snapshot=True, is_recovered=False
    )
    *first, last = map(decode, parts)
    assert [n for message in [*first, last] for n in msgspec.convert(message["stocks"], list[int])] == list(range(stocks))
    assert [n for message in [*first, last] for n in msgspec.convert(message["alerts"], list[int])] == list(range(alerts))
    assert all(message["more"] is True and "cursor" not in message for message in first)
    assert "more" not in last
    assert last["cursor"] == "c"
    assert all(message["snapshot"] is True and message["recovered"] is False for message in [*first, last])
    assert all(len(msgspec.convert(message[key], list[int])) <= 1000 for message in [*first, last] for key in ("stocks", "alerts"))


def test_cursor_is_safe_in_a_url_and_holds_every_position() -> None:
    positions = [Position("1795346662034123-3fa9c1d2", 812), Position("1795346662034124-3fa9c1d2", 0)]
    cursor = protocol.encode_cursor(positions)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    padded = cursor + "=" * (-len(cursor) % 4)
    assert msgspec.msgpack.decode(urlsafe_b64decode(padded), type=list[Position]) == positions


def test_small_messages_are_those_of_the_contract() -> None:
    assert protocol.encode_pong("c") == b'{"type":"pong","cursor":"c"}'
    assert protocol.encode_status(True, NOW_MS) == b'{"type":"status","stale":true,"since":"%b"}' % NOW.encode()
    assert protocol.encode_subscribed(frozenset(("MSFT", "AAPL"))) == b'{"type":"subscribed","tickers":["AAPL","MSFT"]}'
    assert protocol.encode_subscribed(ALL) == b'{"type":"subscribed","tickers":["*"]}'
    assert decode(protocol.encode_error(Error(ErrorCode.BAD_TICKER, 'not "x"'))) == {
        "type": "error",
        "code": "bad_ticker",
        "message": 'not "x"',
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[]", "bad_json"),
        ('"ping"', "bad_json"),
        ("[" * 4000, "bad_json"),
        ("{}", "bad_action"),
        ('{"action":"buy"}', "bad_action"),
        ('{"action":["ping"]}', "bad_action"),
        ('{"action":"subscribe"}', "bad_ticker"),
        ('{"action":"subscribe","tickers":"AAPL"}', "bad_ticker"),
    ],
)
def test_command_that_cannot_be_done_is_refused_with_its_code(text: str, code: str) -> None:
    refused = protocol.parse_command(text)
    assert isinstance(refused, Error)
    assert refused.code == code


def test_malformed_tickers_are_named_and_the_rest_applies() -> None:
    command = protocol.parse_command('{"action":"subscribe","tickers":["AAPL","aapl",7,"",null,"MSFT"]}')
    assert command == Subscribe(frozenset(("AAPL", "MSFT")), ("aapl", "7", "", "null"))


def test_star_among_names_means_all() -> None:
    assert protocol.parse_command('{"action":"subscribe","tickers":["AAPL","*"]}') == Subscribe(ALL, ())
    assert protocol.parse_command('{"action":"unsubscribe","tickers":["*"]}') == Unsubscribe(ALL, ())


@pytest.mark.parametrize(("text", "token"), [('"abc"', "abc"), ("null", ""), ("7", ""), ('["abc"]', "")])
def test_token_is_text_or_nothing_and_never_shown(text: str, token: str) -> None:
    command = protocol.parse_command(f'{{"action":"auth","token":{text}}}')
    assert command == Auth(token)
    assert "abc" not in f"{command!r} {command}"
    assert protocol.parse_command('{"action":"auth"}') == Auth("")


def test_tickers_beyond_the_bound_are_refused_and_all_of_them_are_not() -> None:
    most = frozenset(f"T{n}" for n in range(MOST_TICKERS))
    assert protocol.add(most, frozenset(("T1",))) == protocol.add(frozenset(), most) == most
    refused = protocol.add(most, frozenset(("KO",)))
    assert isinstance(refused, Error)
    assert refused.code is ErrorCode.TOO_MANY_TICKERS
    assert protocol.add(most, ALL) == ALL


def test_tickers_that_a_token_does_not_allow_are_named() -> None:
    error = protocol.forbidden_tickers(frozenset(f"T{n}" for n in range(9)))
    assert error == (ErrorCode.UNAUTHORIZED, "the token does not allow 'T0', 'T1', 'T2', 'T3', 'T4' and 4 more")


def test_ping_may_carry_what_this_version_does_not_know() -> None:
    assert protocol.parse_command('{"action":"ping","id":5}') == Ping()


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_of_a_client_raises(text: str) -> None:
    protocol.parse_command(text)
    protocol.parse_query(text)


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), st.lists, max_leaves=4)


@given(st.lists(json_values, max_size=8))
def test_every_refused_name_can_be_shown(names: list[object]) -> None:
    command = protocol.parse_command(json.dumps({"action": "subscribe", "tickers": names}))
    if isinstance(command, Subscribe) and command.malformed:
        assert decode(protocol.encode_error(protocol.bad_tickers(command.malformed)))["code"] == "bad_ticker"


def test_query_without_tickers_means_all_and_no_resuming() -> None:
    assert protocol.parse_query("") == (ALL, (), None)
    assert protocol.parse_query("tickers=&other=1") == (ALL, (), None)


def test_query_names_tickers_and_cursor() -> None:
    assert protocol.parse_query("tickers=AAPL,BRK.B%2CMSFT&since=abc") == (frozenset(("AAPL", "BRK.B", "MSFT")), (), "abc")
    assert protocol.parse_query("tickers=*") == (ALL, (), None)
    assert protocol.parse_query("since=") == (ALL, (), "")


def test_query_with_only_malformed_tickers_subscribes_to_nothing() -> None:
    assert protocol.parse_query("tickers=aapl") == (frozenset(), ("aapl",), None)


def test_subscribing_adds_and_star_holds_everything() -> None:
    assert protocol.add(frozenset("A"), frozenset("B")) == frozenset("AB")
    assert protocol.add(frozenset("A"), ALL) == ALL
    assert protocol.add(ALL, frozenset("A")) == ALL


def test_unsubscribing_names_from_star_is_not_supported() -> None:
    refused = protocol.remove(ALL, frozenset("A"))
    assert isinstance(refused, Error)
    assert refused.code is ErrorCode.NOT_SUPPORTED
    assert protocol.remove(ALL, ALL) == frozenset()
    assert protocol.remove(ALL, frozenset()) == ALL
    assert protocol.remove(frozenset("AB"), frozenset("BC")) == frozenset("A")
