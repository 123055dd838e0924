"""The fake by hand: `python -m tests.fakes.finnhub` serves until Ctrl-C, and shows each call."""

import argparse
import asyncio
import re
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime

from shared.events import TICKER, is_ticker
from tests.fakes.finnhub import FakeFinnhub, Fault, body, cut, gzip_bomb, huge, limited, reset, silence, status, trickle
from tests.fakes.finnhub.server import ANY_SYMBOL, Call

FAULTS: dict[str, tuple[Callable[[str], Fault], str]] = {
    "body": (lambda text: body(text.encode()), ":TEXT  answer 200 with this text"),
    "status": (lambda code: status(int(code)), ":CODE  answer this status with a page of HTML"),
    "limited": (lambda seconds: limited(reset_in_seconds=float(seconds or 60)), "[:SECONDS]  answer 429, over for so long"),
    "huge": (lambda megabytes: huge(int(megabytes or 50)), "[:MEGABYTES]  a body without end"),
    "gzip_bomb": (lambda megabytes: gzip_bomb(int(megabytes or 50)), "[:MEGABYTES]  the same in few bytes"),
    "trickle": (lambda seconds: trickle(float(seconds or 1)), "[:SECONDS]  one byte in so many seconds"),
    "cut": (lambda count: cut(int(count or 10)), "[:BYTES]  close the connection in mid-body"),
    "silence": (lambda _: silence(), "  never answer"),
    "reset": (lambda _: reset(), "  reset the connection"),
}
REPEATED = "what to answer, for one ticker or all; may be repeated: one each, the last for ever"
FAULT = re.compile(rf"(?:({TICKER})=)?([a-z_]+)(?::(.*))?", re.ASCII | re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, serve, and return after SIGINT or SIGTERM."""
    asyncio.run(_serve(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.finnhub",
        description="A Finnhub on this machine, with its quota and its market hours. Ctrl-C ends it.",
        epilog="Faults:\n" + "\n".join(f"  {name}{meaning}" for name, (_, meaning) in FAULTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0, the default: any free port")
    parser.add_argument("--key", default="test-key", help="the one key that is accepted (%(default)s)")
    parser.add_argument("--tickers", type=_tickers, help="comma list of the symbols it knows (the default ones of tickstream)")
    parser.add_argument("--fault", type=_fault, action="append", default=[], metavar="[TICKER=]FAULT", help=REPEATED)
    return parser


def _tickers(text: str) -> list[str]:
    tickers = text.split(",")
    if bad := [ticker for ticker in tickers if not is_ticker(ticker)]:
        raise argparse.ArgumentTypeError(f"{bad[0]!r} is not a ticker; give a comma list such as AAPL,BRK.B")
    return tickers


def _fault(text: str) -> tuple[str, Fault]:
    """Read `status:503` or `AAPL=status:503`."""
    match = FAULT.fullmatch(text)
    if match is None or match[2] not in FAULTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no fault; give one of {', '.join(FAULTS)}, such as AAPL=status:503")
    make, meaning = FAULTS[match[2]]
    try:
        return match[1] or ANY_SYMBOL, make(match[3] or "")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}; it is {match[2]}{meaning}") from None


async def _serve(options: argparse.Namespace) -> None:
    fake = FakeFinnhub(key=options.key, port=options.port, symbols=options.tickers)
    for symbol in {symbol for symbol, _ in options.fault}:
        fake.answer(symbol, *(fault for name, fault in options.fault if name == symbol), always=True)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(fake)
        except (OSError, OverflowError) as error:
            sys.exit(f"cannot listen on port {options.port}: {error}; choose another --port")
        await _until_a_signal(_show(fake, options))


async def _until_a_signal(work: Coroutine[None, None, None]) -> None:
    # The handlers are there before the work begins to say anything.
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


async def _show(fake: FakeFinnhub, options: argparse.Namespace) -> None:
    print(f"Fake Finnhub for {', '.join(fake.quotes)}. Ctrl-C ends it. To use it:", flush=True)
    print(_line_to_use(fake, options), flush=True)
    shown = 0
    while True:
        await fake.wait_for_calls(shown + 1)
        print(_line_of(fake.calls[shown]), flush=True)
        shown += 1


def _line_to_use(fake: FakeFinnhub, options: argparse.Namespace) -> str:
    variables = {"FINNHUB_BASE_URL": fake.base_url, "FINNHUB_API_KEY": options.key}
    if options.tickers:
        variables["TICKERS"] = ",".join(options.tickers)
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()) + " make run"


def _line_of(call: Call) -> str:
    """Without the key: this may be shown to others."""
    at = datetime.fromtimestamp(call.at).astimezone()
    return f"{at:%H:%M:%S} {call.path} {call.symbol or '-'} → {call.status or 'no answer'}"


if __name__ == "__main__":
    main()
