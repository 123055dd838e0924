"""Every Redis key, stream and group, declared once; nobody else spells a key.

All keys of a partition carry the hash tag `{p}` and no other braces, so that one function call may touch
them all in a Redis Cluster (only the first braces of a key count).
"""

CONFIG = "config"

MARKET = "market"
"""Stream of whether the exchange trades; one for the deployment, outside of the partitions."""

GATEWAYS = "gateways"
"""Stream of what each gateway process says of itself, for operators; one for the deployment, outside of the partitions."""

ANALYZER_GROUP = "analyzer"
PERSISTER_GROUP = "persister"

STREAMS = ("ticks", "enriched", "events")


def stream(name: str, partition: int) -> str:
    """The stream of that name ("ticks", "enriched" or "events") in a partition."""
    return f"{name}:{{{partition}}}"


def ticks(partition: int) -> str:
    """Stream of raw ticks, written by `append` only."""
    return f"ticks:{{{partition}}}"


def enriched(partition: int) -> str:
    """Stream of ticks with average and alert, written by `commit` only."""
    return f"enriched:{{{partition}}}"


def prices(partition: int, ticker: str) -> str:
    """List of the last SMA_PERIOD prices of a ticker, oldest first."""
    return f"prices:{{{partition}}}:{ticker}"


def latest(partition: int) -> str:
    """Hash of ticker to the JSON of its latest enriched event."""
    return f"latest:{{{partition}}}"


def deadletters(partition: int) -> str:
    """Stream of input that could not be processed, with its reason."""
    return f"deadletters:{{{partition}}}"


def log(partition: int) -> str:
    """Hash, the head of a partition: incarnation, run_id, seq, cursor, lineage, period, required groups."""
    return f"log:{{{partition}}}"


def events(partition: int) -> str:
    """Stream of what only a function sees (a new incarnation, an overrun, a change of period), newest 1 000."""
    return f"events:{{{partition}}}"


def sides(partition: int) -> str:
    """Hash of ticker to the side (1 or -1) on which its price last stood off its average."""
    return f"sides:{{{partition}}}"


def producers(partition: int) -> str:
    """Hash of producer to the number of its last accepted tick."""
    return f"producers:{{{partition}}}"


def last(partition: int) -> str:
    """Hash of ticker to the event time of its last polled tick."""
    return f"last:{{{partition}}}"


def lease(service: str, partition: int) -> str:
    """Hash, who works on a partition: owner, token, heartbeat counter, and the member that wants it."""
    return f"lease:{service}:{{{partition}}}"


def members(service: str) -> str:
    """Hash of the processes of a service that live, by name, each with its counter; one for the deployment."""
    return f"members:{service}"
