"""What is shown where: plain lines for a pipe, only what is serious beside a table."""

import asyncio
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from services.admin.board import Board
from services.admin.log_files import LogFiles
from services.admin.screen import LiveScreen, PlainScreen, is_serious_line
from services.admin.table import Caption


@pytest.mark.parametrize(
    ("line", "is_serious"),
    [
        ('{"event": "waiting", "level": "warning", "what": "redis"}', True),
        ('{"level":"error"}', True),
        ('{"event": "an error in a text", "level": "info"}', False),
        ("2026-11-22T14:31:04Z [warning  ] waiting   what=redis", True),
        ("2026-11-22T14:31:04Z [info     ] lease taken [shared.redis.lease]", False),
        ("2026-11-22T14:31:04Z [critical ] gone", True),
    ],
)
def test_warnings_are_serious_in_both_formats(line: str, is_serious: bool) -> None:
    assert is_serious_line(line, before=not is_serious) is is_serious


def test_line_without_a_level_is_as_serious_as_the_one_before(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=80)
    screen = LiveScreen(console, LogFiles(tmp_path))
    for line in ("x [error    ] failed", "Traceback (most recent call last):", "y [info     ] fine", "quiet"):
        screen.log("analyzer", line)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "Traceback" in shown
    assert "fine" not in shown
    assert "quiet" not in shown
    assert (tmp_path / "analyzer.log").read_text().splitlines()[-1] == "quiet"


def test_full_log_file_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.admin.log_files.BIGGEST_BYTES", 10)
    logs = LogFiles(tmp_path)
    for number in range(7):
        logs.write("gateway", f"line {number}")
    assert (tmp_path / "gateway.log").read_text() == "line 6\n"
    assert (tmp_path / "gateway.log.1").read_text() == "line 4\nline 5\n"


def test_plain_lines_carry_the_name_of_who_said_it(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    screen.log("persister-2", "hello")
    screen.say("ready")
    assert capsys.readouterr().out == "persister-2 | hello\nup          | ready\n"


class Page(StringIO):
    """A text file on which a test can wait for words."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def write(self, text: str) -> int:
        self._changed.set()
        return super().write(text)

    async def reads(self, words: str, times: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.getvalue().count(words) < times:
                self._changed.clear()
                await self._changed.wait()


async def test_plain_screen_summarizes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    page, screen, stop = Page(), PlainScreen(), asyncio.Event()
    monkeypatch.setattr("sys.stdout", page)
    monkeypatch.setattr("services.admin.screen.SUMMARY_SECONDS", 0.01)
    showing = asyncio.create_task(screen.show(Board(is_connected=True), lambda: Caption("", (), ""), stop))
    await page.reads("0 tickers, 0 updates in 0 s", times=2)
    stop.set()
    await showing


async def test_live_screen_draws_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    page, stop = Page(), asyncio.Event()
    screen = LiveScreen(Console(file=page, width=60, height=20, force_terminal=True), LogFiles(tmp_path))
    showing = asyncio.create_task(screen.show(Board(), lambda: Caption("the title", (), "footer"), stop))
    await page.reads("the title")
    stop.set()
    await showing
