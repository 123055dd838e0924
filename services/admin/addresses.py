"""How a client on this machine reaches what listens on an address."""

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What a server may listen on and a client cannot connect to, and what it connects to instead."""


def gateway_url(host: str, port: int) -> str:
    """The URL of the gateway that was told to listen on `host` and `port`."""
    return f"ws://{reachable(host)}:{port}/ws/stocks/"


def reachable(host: str) -> str:
    """How a URL names the address on which something listens."""
    address = EVERY_ADDRESS.get(host, host)
    return f"[{address}]" if ":" in address else address
