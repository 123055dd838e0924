"""The subcommands. Each one imports what it needs when it runs, so that `--help` answers at once."""

import asyncio
import sys
from typing import NoReturn, TypeVar

import typer

from shared.errors import ConfigurationError
from shared.settings import Settings, read_settings
from shared.version import version as program_version

S = TypeVar("S", bound=Settings)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="tickstream: real-time stock ticks over Redis Streams. Everything is configured by the environment; see docs/configuration.md.",
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

    raise typer.Exit(run_up(_read(UpSettings)))


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
    raise typer.Exit(show_status(_read(StatusSettings), as_json=as_json))


LATER = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=LATER)
def watch(context: typer.Context) -> None:
    """Prices from a gateway (not available in this version)."""
    _not_available(context)


@app.command(context_settings=LATER)
def tail(context: typer.Context) -> None:
    """Entries of a stream (not available in this version)."""
    _not_available(context)


@app.command(context_settings=LATER)
def deadletters(context: typer.Context) -> None:
    """Input that could not be processed (not available in this version)."""
    _not_available(context)


def _not_available(context: typer.Context) -> NoReturn:
    _refuse(f"tickstream {context.info_name}: not available in this version")


def _read(model: type[S]) -> S:
    """Read the environment, or show one line per bad variable and exit with 2."""
    try:
        return read_settings(model)
    except ConfigurationError as error:
        _refuse(str(error))


def _refuse(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(2)
