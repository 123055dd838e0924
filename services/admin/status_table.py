"""The status as tables that fit 80 columns: numbers, who holds trimming, and who holds which lease."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from services.admin.status import Partition, Totals
from shared.redis.pipeline import LEASED

NUMBERS = ("p", "ticks", "analyzer lag", "persister lag", "enriched", "persister lag", "dead", "last tick")


def print_status(partitions: Sequence[Partition], totals: Totals, console: Console) -> None:
    """Print the tables."""
    console.print(numbers(partitions, totals))
    console.print()
    console.print(holds(partitions))
    console.print()
    console.print(holders(partitions))
    console.print()
    console.print(
        f"analyzer lag {totals.analyzer_lag}, persister lag {totals.persister_lag} (both streams), dead letters {totals.deadletters}"
    )


def numbers(partitions: Sequence[Partition], totals: Totals) -> Table:
    """Lengths and lags; the lag beside a stream is that of its readers."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in NUMBERS:
        table.add_column(name, justify="right", overflow="fold")
    for each in partitions:
        lags = (each.analyzer_lag, each.persister_ticks_lag, each.persister_enriched_lag)
        analyzer, ticks, enriched = ("–" if lag is None else str(lag) for lag in lags)
        age = "–" if each.last_entry_age_seconds is None else f"{each.last_entry_age_seconds:.1f} s"
        table.add_row(str(each.partition), str(each.ticks), analyzer, ticks, str(each.enriched), enriched, str(each.deadletters), age)
    table.add_row("Σ", str(totals.ticks), "", "", str(totals.enriched), "", str(totals.deadletters), "", style="bold")
    return table


def holds(partitions: Sequence[Partition]) -> Table | str:
    """Which group keeps which stream from being trimmed, how much it has yet to read, and for how long that has waited."""
    rows = [(each.partition, stream, hold) for each in partitions for stream, hold in each.held_by.items() if hold]
    if not rows:
        return "trimming is held by nobody: every group has read everything"
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("p", "stream", "trimming held by", "entries", "waiting"):
        table.add_column(name, overflow="fold", justify="left" if name in ("stream", "trimming held by") else "right")
    for partition, stream, hold in rows:
        group = hold.group if hold.is_required else f"{hold.group} (not required)"
        entries = "?" if hold.entries is None else str(hold.entries)
        table.add_row(str(partition), stream, group, entries, f"{hold.waiting_seconds:.1f} s")
    return table


def holders(partitions: Sequence[Partition]) -> Table:
    """Who holds which lease, as `host:pid:chance`."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("p", *LEASED):
        table.add_column(name, overflow="fold", justify="right" if name == "p" else "left")
    for each in partitions:
        table.add_row(str(each.partition), *(each.holders[service] or "–" for service in LEASED))
    return table
