"""Whose pages may connect."""

import pytest

from services.gateway.origins import Origins, normal


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", "localhost:8001"),
        ("https://example.org", "example.org"),
        ("https://Example.ORG:9", "example.org:8001"),
        ("http://127.0.0.1:8000", "127.0.0.1:8001"),
        ("http://[::1]:8000", "[::1]:8001"),
    ],
)
def test_page_of_the_same_host_name_may_connect_whatever_its_port(origin: str, host: str) -> None:
    assert Origins(()).allow(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.org", "example.org"),
        ("https://example.org.evil.org", "example.org"),
        ("https://evil-example.org", "example.org"),
        ("https://example.org@evil.org", "example.org"),
        ("https://example.org/evil.org", "example.org"),
        ("https://example.org\tx", "example.org"),
        ("chrome-extension://example.org", "example.org"),
        ("null", "null"),
        ("", ""),
        ("null", "example.org"),
        ("https://", ""),
        ("http://localhost", "127.0.0.1"),
        ("http://example.org", "example.org, evil.org"),
        ("http://[::1]", "[::1"),
    ],
)
def test_page_of_another_host_name_may_not(origin: str, host: str) -> None:
    assert not Origins(()).allow(origin, host)


def test_listed_origins_take_the_place_of_the_same_host_name() -> None:
    origins = Origins(("https://app.example.org", "http://localhost:8000/"))
    assert origins.allow("https://app.example.org", "ws.example.org")
    assert origins.allow("HTTPS://APP.example.org:443", "ws.example.org")
    assert origins.allow("http://localhost:8000", "ws.example.org")
    assert not origins.allow("https://ws.example.org", "ws.example.org")
    assert not origins.allow("http://app.example.org", "ws.example.org")
    assert not origins.allow("https://app.example.org:444", "ws.example.org")
    assert not origins.allow("null", "ws.example.org")


def test_star_is_any_and_null_only_where_it_is_listed() -> None:
    assert Origins(("*",)).allow("https://evil.org", "example.org")
    assert Origins(("*",)).allow("null", "example.org")
    assert Origins(("null",)).allow("null", "example.org")
    assert not Origins(("https://example.org",)).allow("null", "example.org")


@pytest.mark.parametrize("text", ["example.org", "ftp://example.org", "https://a b", "https://example.org/x", "https://*.org", "", "//x"])
def test_what_is_no_origin_has_no_normal_form(text: str) -> None:
    assert normal(text) is None
