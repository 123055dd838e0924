"""How many processes of each service `up` starts: the text of SCALE as numbers."""

from collections.abc import Mapping

SCALABLE = ("fetcher", "analyzer", "persister", "gateway")
"""In the order in which they are started and listed."""

MOST = 64
"""As many as there can be partitions."""

ALLOWED = f'{", ".join(SCALABLE)}, each 1 … {MOST}, such as "analyzer=3 persister=2 gateway=2"'


def parse_scale(text: str) -> Mapping[str, int]:
    """Return the number of processes of every service; raise `ValueError` that names the first bad part.

    Parts are divided by blanks or commas; a service that is not named gets one process.
    """
    wanted: dict[str, int] = {}
    for part in text.replace(",", " ").split():
        name, _, number = part.partition("=")
        if name == "api":
            raise ValueError("api runs once; more of them are started by themselves, each with its own API_PORT")
        if name not in SCALABLE or name in wanted or not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) <= MOST:
            raise ValueError(f"{part[:64]!r} is not allowed; {ALLOWED}")
        wanted[name] = int(number)
    return {name: wanted.get(name, 1) for name in SCALABLE}
