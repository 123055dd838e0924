"""Entries as Redis sends them: names and values in turn."""


def flat(fields: dict[str, str]) -> list[str]:
    """Names and values in turn."""
    return [text for pair in fields.items() for text in pair]


def tick_entry(**fields: str) -> list[str]:
    """An entry of `ticks:{p}`; what is not given is empty."""
    names = ("seq", "ticker", "price", "ts", "source", "volume", "quote_ts", "shed")
    return flat({name: fields.get(name, "") for name in names} | fields)


def mapping(entry: list[str]) -> dict[str, str]:
    """Name to value."""
    return dict(zip(entry[::2], entry[1::2], strict=True))
