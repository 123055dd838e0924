"""Where the dashboard finds the gateway."""

import pytest

from services.api.gateway_address import gateway_url, is_gateway_url, origin_of


@pytest.mark.parametrize(
    ("public_url", "host", "is_secure", "url"),
    [
        (None, "localhost:8000", False, "ws://localhost:8001/ws/stocks/"),
        (None, "localhost", True, "wss://localhost:8001/ws/stocks/"),
        (None, "[::1]:8000", False, "ws://[::1]:8001/ws/stocks/"),
        (None, "", False, ""),
        (None, "a b", False, ""),
        (None, "a;b", False, ""),
        (None, "a/b", False, ""),
        ("ws://live.example:81", "x", False, "ws://live.example:81/ws/stocks/"),
        ("ws://live.example/", "x", True, "wss://live.example/ws/stocks/"),
        ("https://live.example/prices/", "x", False, "wss://live.example/prices/"),
        ("http://live.example", "x", False, "ws://live.example/ws/stocks/"),
    ],
)
def test_the_gateway_is_where_it_was_set_or_beside_the_page(public_url: str | None, host: str, is_secure: bool, url: str) -> None:
    assert gateway_url(public_url, host, 8001, is_secure=is_secure) == url


@pytest.mark.parametrize(
    "url", ["", "gateway", "ftp://a", "ws://", "ws://a b", "ws://a;b", "ws://user:secret@a", "ws://a/?token=x", "ws://a\n"]
)
def test_what_is_no_address_of_a_gateway_is_refused(url: str) -> None:
    assert not is_gateway_url(url)


def test_an_origin_has_no_path() -> None:
    assert origin_of("wss://live.example:81/ws/stocks/") == "wss://live.example:81"
    assert origin_of("") == ""
