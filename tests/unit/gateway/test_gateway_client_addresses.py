"""Who is asking, when proxies stand between."""

import pytest

from services.gateway.client_addresses import ClientAddresses, counted_as, parse_address

PROXIES = ClientAddresses(("10.0.0.0/8", "fd00::/8", "192.0.2.7"))


def found(peer: str, *forwarded: str, proxies: ClientAddresses = PROXIES) -> str:
    return str(proxies.find(parse_address(peer), forwarded))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("198.51.100.1", "198.51.100.1"),
        (" 198.51.100.1:4711 ", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", "None"),
        ("_hidden", "None"),
        ("198.51.100.256", "None"),
        ("198.51.100.1.", "None"),
        ("", "None"),
        ("[", "None"),
    ],
)
def test_addresses_are_read_in_every_form(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


def test_nobody_is_believed_unless_somebody_is_trusted() -> None:
    assert found("203.0.113.9", "198.51.100.1", proxies=ClientAddresses(())) == "203.0.113.9"
    assert found("203.0.113.9", "198.51.100.1") == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1, 10.9.9.9, 192.0.2.7"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1", "[fd00::2]:80"], "198.51.100.1"),
        (["garbage, 198.51.100.1:80,"], "198.51.100.1"),
        (["198.51.100.1, garbage"], "10.0.0.1"),
        (["garbage"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        (["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        (["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_behind_trusted_proxies_the_right_most_other_address_counts(forwarded: list[str], client: str) -> None:
    assert found("10.0.0.1", *forwarded) == client
    assert found("::ffff:10.0.0.1", *forwarded) == client


def test_an_ipv6_client_is_its_network_and_an_ipv4_client_its_address() -> None:
    one, other = (counted_as(parse_address(text)) for text in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"))
    assert one == other == "2001:db8:0:1::/64"
    assert counted_as(parse_address("2001:db8:0:2::1")) != one
    assert counted_as(parse_address("198.51.100.1")) == "198.51.100.1"
    assert counted_as(None) == ""
