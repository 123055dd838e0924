"""`tickstream deadletters list|show|retry|drop`. Each one imports what it needs when it runs."""

from typing import TYPE_CHECKING

import typer

from services.admin.refusals import read_or_refuse, refuse

if TYPE_CHECKING:
    from services.admin.deadletters_request import Filter, Selection
    from services.admin.settings import StatusSettings

deadletters = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Input that could not be processed, kept with its reason: look at it, retry it, drop it.

    Rows of a replay and answers of a provider that are no ticks, ticks from the future, and entries of `ticks` that are none
    lie in `deadletters` of their partition, the newest 100 000 of each. The pipeline goes on without them.

    Uses REDIS_URL, or the Redis of the `up` that runs in the current directory.
    """,
)

NAMES = typer.Argument(default=None, metavar="[NAME…]", help="As `list` shows them, such as 3:1795346662034-0.")
ALL = typer.Option(False, "--all", help="All of them, or all that the following options choose.")
REASON = typer.Option("", "--reason", metavar="TEXT", help="Only those with this text in their reason, upper or lower case.")
TICKER = typer.Option("", "--ticker", metavar="AAPL", help="Only those that name this ticker.")
SET = typer.Option([], "--set", metavar="FIELD=VALUE", help="Of one letter: ticker, price, ts, source, volume or quote_ts.")
PARTITION = typer.Option(None, "--partition", metavar="P", help="Only those of this partition.")


@deadletters.command("list")
def list_(
    limit: int = typer.Option(20, "--limit", min=0, metavar="N", help="Show so many of the newest; all are counted."),
    reason: str = REASON,
    ticker: str = TICKER,
    partition: int | None = PARTITION,
    as_json: bool = typer.Option(False, "--json", help="One JSON object a line, without the counts."),
) -> None:
    """Show the newest, and count all by reason.

    The name in the first column is what `show`, `retry` and `drop` take. In the counts, N stands for a number and '…' for a
    quoted text.

    \b
    tickstream deadletters list --reason 'is not a number'
    tickstream deadletters list --limit 100000 --json | jq -r .payload
    """
    from services.admin.deadletters_list import list_letters

    settings = _settings()
    raise typer.Exit(list_letters(settings, _filter(reason, ticker, partition), limit=limit, as_json=as_json))


@deadletters.command()
def show(name: str = typer.Argument(metavar="NAME", help="As `list` shows it, such as 3:1795346662034-0.")) -> None:
    """Show all of one, and whether it can be retried.

    Characters that would steer the terminal are shown as escapes. Ends with 1 if there is no such letter.
    """
    from services.admin.arguments import WrongInput
    from services.admin.deadletters_list import show_letter
    from services.admin.deadletters_request import read_name

    settings = _settings()
    try:
        wanted = read_name(name)
    except WrongInput as error:
        refuse(str(error))
    raise typer.Exit(show_letter(settings, wanted))


@deadletters.command()
def retry(
    names: list[str] = NAMES,
    is_all: bool = ALL,
    reason: str = REASON,
    ticker: str = TICKER,
    partition: int | None = PARTITION,
    changes: list[str] = SET,
) -> None:
    """Append what is a tick by now, and delete its letter.

    Both happen in one call: after a lost answer, or beside another retry, nothing is appended twice. The tick gets the next
    seq of its partition, and counts for averages from there on; its ts stays its own. What is no tick stays, with the reason.
    A full stream is waited for (STREAM_CAP, as the services have it). Ctrl-C between two letters leaves nothing half-done.

    Ends with 0, or with 1 if any letter stays or is not there.

    \b
    tickstream deadletters retry 3:1795346662034-0
    tickstream deadletters retry 3:1795346662034-0 --set price=12.5
    tickstream deadletters retry --all --reason 'in the future'
    """
    from services.admin.arguments import WrongInput
    from services.admin.deadletters_request import read_given
    from services.admin.deadletters_retry import retry_letters

    settings = _settings()
    selection = _selection(names, _filter(reason, ticker, partition), is_all=is_all)
    try:
        given = read_given(changes, names or [])
    except WrongInput as error:
        refuse(str(error))
    raise typer.Exit(retry_letters(settings, selection, given))


@deadletters.command()
def drop(
    names: list[str] = NAMES,
    is_all: bool = ALL,
    reason: str = REASON,
    ticker: str = TICKER,
    partition: int | None = PARTITION,
    is_confirmed: bool = typer.Option(False, "--yes", help="Do not ask; needed where nobody can be asked."),
) -> None:
    """Delete letters for good.

    Asks before it does. Ends with 0, or with 1 if a name is not there or the answer is no.

    \b
    tickstream deadletters drop 3:1795346662034-0
    tickstream deadletters drop --all --reason 'not JSON' --yes
    """
    from services.admin.deadletters_drop import can_ask, drop_letters

    settings = _settings()
    selection = _selection(names, _filter(reason, ticker, partition), is_all=is_all)
    if not is_confirmed and not can_ask():
        refuse("nobody can be asked here: --yes deletes without asking")
    raise typer.Exit(drop_letters(settings, selection, is_confirmed=is_confirmed))


def _settings() -> "StatusSettings":
    from services.admin.running import adopt
    from services.admin.settings import StatusSettings

    adopt()
    return read_or_refuse(StatusSettings)


def _filter(reason: str, ticker: str, partition: int | None) -> "Filter":
    from services.admin.arguments import WrongInput
    from services.admin.deadletters_request import read_filter

    try:
        return read_filter(reason, ticker, partition)
    except WrongInput as error:
        refuse(str(error))


def _selection(names: list[str] | None, wanted: "Filter", *, is_all: bool) -> "Selection":
    from services.admin.arguments import WrongInput
    from services.admin.deadletters_request import read_selection

    try:
        return read_selection(names or [], wanted, is_all=is_all)
    except WrongInput as error:
        refuse(str(error))
