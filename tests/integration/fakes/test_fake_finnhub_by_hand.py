"""The fake as a program: what it prints can be used, and Ctrl-C ends it."""

import asyncio
import shlex
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.fakes.finnhub.__main__ import FAULTS, main

PROGRAM = (sys.executable, "-m", "tests.fakes.finnhub")


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program with these arguments."""
    process = await asyncio.create_subprocess_exec(*PROGRAM, *arguments, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line that it prints."""
    assert process.stdout
    return (await process.stdout.readline()).decode().rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_the_line_to_use_it_with_and_each_call_until_it_is_ended(number: signal.Signals) -> None:
    arguments = ("--key", "a key", "--tickers", "AAPL,BRK.B", "--fault", "BRK.B=status:503", "--fault", "BRK.B=silence")
    async with running(*arguments) as process:
        assert await line(process) == "Fake Finnhub for AAPL, BRK.B. Ctrl-C ends it. To use it:"
        words = shlex.split(await line(process))
        variables = dict(word.split("=", 1) for word in words[:3])
        assert words[3:] == ["make", "run"]
        assert (variables["FINNHUB_API_KEY"], variables["TICKERS"]) == ("a key", "AAPL,BRK.B")
        headers = {"X-Finnhub-Token": "a key"}
        async with httpx.AsyncClient(base_url=variables["FINNHUB_BASE_URL"], headers=headers, trust_env=False) as http:
            assert (await http.get("/quote?symbol=AAPL")).json()["c"] > 0
            assert (await http.get("/quote?symbol=BRK.B")).status_code == 503
            with pytest.raises(httpx.ReadTimeout):
                await http.get("/quote?symbol=BRK.B", timeout=httpx.Timeout(30, read=0.05))
            lines = [(await line(process)).split(" ", 2) for _ in range(3)]
            assert [(path, rest) for _, path, rest in lines] == [
                ("/api/v1/quote", "AAPL → 200"),
                ("/api/v1/quote", "BRK.B → 503"),
                ("/api/v1/quote", "BRK.B → no answer"),
            ]
            process.send_signal(number)
            assert await process.wait() == 0
        assert process.stderr
        assert await process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fault", "nonsense"), "'nonsense' is no fault; give one of body, status, limited,"),
        (("--fault", "status:x"), "'status:x': invalid literal"),
        (("--tickers", "AAPL,,V"), "'' is not a ticker; give a comma list"),
        (("--port", "1000000"), "choose another --port"),
    ],
)
def test_bad_argument_is_told_in_words(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert said in (str(ended.value.code) if ended.value.code != 2 else capsys.readouterr().err)


def test_help_tells_every_option_and_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert [word for word in ("--port", "--key", "--tickers", *FAULTS) if word not in text] == []
