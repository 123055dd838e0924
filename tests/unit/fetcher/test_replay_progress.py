"""How far a replay is, on a terminal and in a log."""

import logging
import sys

import pytest
from structlog.testing import capture_logs

from services.fetcher import progress
from services.fetcher.progress import ProgressReport


def test_without_a_terminal_lines_say_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    with capture_logs() as lines, ProgressReport("replay", 200, is_terminal=False) as report:
        report.update(84, rows=10, rejected=1)
    assert [(line["event"], line["rows"], line["rejected"]) for line in lines] == [("replay at 42 %", 10, 1)]


def test_lines_are_seldom() -> None:
    with capture_logs() as lines, ProgressReport("replay", 200, is_terminal=False) as report:
        for _ in range(100):
            report.update(84)
    assert lines == []


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FRAMES", 0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with ProgressReport("replay", 200, is_terminal=True) as report:
        report.update(84, rows=1234, rejected=2)
        shown = capsys.readouterr().err
    assert "42%" in shown
    assert "1,234 rows" in shown
    assert "2 rejected" in shown


def test_log_lines_stand_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with ProgressReport("replay", 200, is_terminal=True):
            assert handler.stream is sys.stderr
            root.warning("row rejected")
        assert handler.stream is sys.stderr
    finally:
        root.removeHandler(handler)
    assert "row rejected" in capsys.readouterr().err
