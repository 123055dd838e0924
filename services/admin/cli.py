"""The subcommands. Each one imports what it needs when it runs, so that `--help` answers at once."""

import asyncio

import typer

from services.admin.deadletters_commands import deadletters
from services.admin.refusals import read_or_refuse, refuse
from shared.version import version as program_version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="tickstream: real-time stock ticks over Redis Streams. Everything is configured by the environment; see README.md.",
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    if version:
        typer.echo(f"tickstream {program_version()}")
        raise typer.Exit


@app.command()
def up() -> None:
    """Run the whole pipeline until Ctrl-C.

    This is what `make run` calls. Starts Redis and PostgreSQL unless REDIS_URL and DATABASE_URL name them, migrates, and
    starts every service as its own process. SCALE="analyzer=3 persister=2 gateway=2" starts more; GATEWAY_PORT (8001) is
    the port of the first gateway. Data stay in .data/ of the current directory.
    """
    from services.admin.settings import UpSettings
    from services.admin.up import run_up

    raise typer.Exit(run_up(read_or_refuse(UpSettings)))


@app.command()
def migrate() -> None:
    """Make Redis and PostgreSQL ready for this version.

    Writes the schema into DATABASE_URL, and PARTITIONS, SMA_PERIOD and the functions into REDIS_URL; both default to
    those of the `up` that runs in the current directory. Waits while one of them is away. Twice is harmless.
    """
    from services.admin.migrate import MigrateSettings, migrate_when_ready
    from services.admin.running import adopt
    from shared.runtime import run_service

    async def serve(settings: MigrateSettings, stop: asyncio.Event) -> None:
        await migrate_when_ready(settings, stop)

    adopt()
    run_service("migrate", MigrateSettings, serve, is_observed=False)


@app.command()
def status(as_json: bool = typer.Option(False, "--json", help="Print one JSON document instead of a table.")) -> None:
    """Show partitions, lag and holders.

    Lengths of the streams, lag of analyzer and persister, who works on what, the age of the last entry and dead letters.
    Asks REDIS_URL, or the Redis of the `up` that runs in the current directory.
    """
    from services.admin.running import adopt
    from services.admin.settings import StatusSettings
    from services.admin.status import show_status

    adopt()
    raise typer.Exit(show_status(read_or_refuse(StatusSettings), as_json=as_json))


@app.command()
def watch(
    tickers: str = typer.Option("", "--tickers", metavar="AAPL,MSFT", help="Only these; all of them without it."),
    url: str = typer.Option("", "--url", metavar="ws://HOST:PORT/ws/stocks/", help="Another gateway."),
    once: bool = typer.Option(False, "--once", help="Show the prices of this moment and end; 1 if no gateway answers within 8 s."),
    as_json: bool = typer.Option(False, "--json", help="Print the gateway's messages as they are, one a line."),
) -> None:
    """Show live prices from a gateway, until Ctrl-C.

    On a terminal a table: price and where it moved, moving average (SMA), last alert, and the age of each price, marked
    `late` when it is three times older than usual while the market is open. Below the title: the market, and what is away,
    since when and why. Elsewhere lines: each alert as it comes, and a summary every 10 s.

    Connects to the `up` that runs in the current directory, else to GATEWAY_HOST (127.0.0.1) and GATEWAY_PORT (8001), and
    again whenever the gateway goes away. Ends with 1 if the gateway says never to come back. Where it wants a token, that is
    GATEWAY_TOKEN, or in the file GATEWAY_TOKEN_FILE, which may be renewed.

    \b
    tickstream watch --tickers AAPL,BRK.B
    tickstream watch --url wss://prices.example.com/ws/stocks/
    tickstream watch --once | sort -k2
    tickstream watch --json | jq -r '.alerts[]?.ticker'
    """
    from services.admin.arguments import WrongInput
    from services.admin.gateway_token import gateway_token
    from services.admin.running import adopt
    from services.admin.settings import WatchSettings
    from services.admin.watch import run_watch, url_of

    adopt()
    settings = read_or_refuse(WatchSettings)
    try:
        wanted = url_of(settings, url, tickers)
    except WrongInput as error:
        refuse(str(error))
    raise typer.Exit(run_watch(wanted, gateway_token(settings), once=once, as_json=as_json))


@app.command()
def tail(
    stream: str = typer.Argument(metavar="ticks|enriched", help="Prices as accepted, or with average and alert."),
    ticker: str = typer.Option("", "--ticker", metavar="AAPL", help="Only this one."),
    start: str = typer.Option("", "--from", metavar="0|ID|TIME", help="Begin in the past, see above.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="One JSON object a line: the fields as they are, and id and partition."),
) -> None:
    """Show the entries of a stream over all partitions as they come, until Ctrl-C.

    Reads REDIS_URL, or the Redis of the `up` that runs in the current directory; writes nothing, and no group is moved.

    \b
    --from 0                     everything that is retained
    --from 1795346662034-0       the entry with this id and all after it, in every partition
    --from 2026-11-22T14:30:00Z  what was added from this time on (UTC unless an offset is given)

    Order: within a partition, hence per ticker, always that of the stream. What was there at the start comes sorted by id over
    all partitions; what is added later comes as it arrives.

    An entry that is no event is shown raw and marked (`invalid` in JSON). While Redis is away the command waits, says so on
    standard error, and goes on where it was; if Redis lost entries, it says that too.

    \b
    tickstream tail enriched
    tickstream tail ticks --ticker AAPL --from 0 | head
    tickstream tail enriched --from 2026-11-22 --json | jq -c 'select(.alert == "bullish")'
    """
    from services.admin.arguments import WrongInput
    from services.admin.running import adopt
    from services.admin.settings import StatusSettings
    from services.admin.tail import run_tail
    from services.admin.tail_request import read_request

    adopt()
    settings = read_or_refuse(StatusSettings)
    try:
        request = read_request(stream, ticker, start, as_json=as_json)
    except WrongInput as error:
        refuse(str(error))
    raise typer.Exit(run_tail(settings, request))


app.add_typer(deadletters, name="deadletters")
