"""The slots of a Redis Cluster: who serves which, as CLUSTER SLOTS tells it. Pure."""

from dataclasses import dataclass
from typing import Any

SLOTS = 16384

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, eq=False)
class SlotMap:
    """Who serves what, as one node told it."""

    owners: tuple[Address | None, ...]
    """The primary of each slot."""
    nodes: tuple[Address, ...]
    """Primaries and replicas."""

    @property
    def primaries(self) -> list[Address]:
        """Those that have slots, in the order of their slots."""
        return list(dict.fromkeys(owner for owner in self.owners if owner))


def read_slots(reply: list[Any], asked: Address) -> SlotMap:
    """The answer to CLUSTER SLOTS: rows of first slot, last slot, primary, replicas; raise `ValueError` if it is none."""
    owners: list[Address | None] = [None] * SLOTS
    nodes: dict[Address, None] = {}
    for first, last, *serving in reply:
        addresses = [address_of(node[0], node[1], asked) for node in serving]
        owners[int(first) : int(last) + 1] = [addresses[0]] * (int(last) + 1 - int(first))
        nodes.update(dict.fromkeys(addresses))
    return SlotMap(tuple(owners), tuple(nodes))


def address_of(host: str | None, port: int, asked: Address) -> Address:
    """Where a node is; one that does not know its own name is the one that was asked."""
    return host if host and host != "?" else asked[0], int(port)


def name_of(address: Address) -> str:
    """`host:port`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
