"""Who is asking: the peer, or the one for whom a trusted proxy says it is asking. Pure.

Only what trusted proxies wrote is believed: X-Forwarded-For is read from the right, where the nearest one adds what it saw.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address
HOST_BITS = 64
"""Of an IPv6 address: one customer has all the addresses of such a network, and may use another for each connection."""


def parse_address(text: str) -> Address | None:
    """An address, with or without a port, brackets or a zone; None if it is none. IPv4 within IPv6 is IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


class ClientAddresses:
    """Finds the client's address behind the given proxies: addresses and networks as text."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ip_network(proxy) for proxy in trusted]

    def is_proxy(self, address: Address | None) -> bool:
        """Whether what this address says of others is believed."""
        return address is not None and any(address in network for network in self._trusted)

    def find(self, peer: Address | None, forwarded: Iterable[str]) -> Address | None:
        """The address that counts; `forwarded` are the X-Forwarded-For headers in their order. Garbage: the peer counts."""
        if not self.is_proxy(peer):
            return peer
        found = peer
        for text in reversed(",".join(forwarded).split(",")):
            if not text.strip():
                continue
            found = parse_address(text)
            if found is None:
                return peer
            if not self.is_proxy(found):
                break
        return found


def counted_as(address: Address | None) -> str:
    """What connections of one client have in common."""
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> HOST_BITS << HOST_BITS)) + f"/{128 - HOST_BITS}"
    return str(address) if address else ""
