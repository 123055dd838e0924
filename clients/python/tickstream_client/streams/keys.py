"""The Redis keys of a deployment that consuming needs. Pure; the names are those of its contract."""

CONFIG = "config"


def stream(name: str, partition: int) -> str:
    """The stream of that name in a partition."""
    return f"{name}:{{{partition}}}"


def log(partition: int) -> str:
    """Hash, the head of a partition."""
    return f"log:{{{partition}}}"


def service(stream_name: str, group: str) -> str:
    """What a group's leases and members are filed under; with a point, which no service of the pipeline has in its name."""
    return f"{stream_name}.{group}"


def lease(service_name: str, partition: int) -> str:
    """Hash, who works on a partition."""
    return f"lease:{service_name}:{{{partition}}}"


def members(service_name: str) -> str:
    """Hash of the members of a group that live."""
    return f"members:{service_name}"


def of_lease(service_name: str, partition: int) -> list[str]:
    """The keys of the functions that take a lease and give it back, in their order."""
    names = [log(partition), *(stream(name, partition) for name in ("ticks", "enriched", "events", "producers"))]
    return [*names, lease(service_name, partition)]
