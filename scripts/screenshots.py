"""Pictures for the README, of a real pipeline: python -m scripts.screenshots

Starts `tickstream up` in a temporary directory with embedded servers and the simulator, and draws what `watch`, `status`
and `tail` show of it as SVG into docs/images/, then the pages, light, dark and as on a phone, as PNG, where there is a Chromium.
The pictures ask for nothing from elsewhere, no font either.
"""

import asyncio
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from socket import gethostname
from struct import pack
from termios import TIOCSWINSZ
from typing import Literal, NamedTuple

from playwright.async_api import Browser, async_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from services.admin.embedded import find_free_port, is_port_free
from services.admin.ports import remember
from services.admin.running import DATA_DIR, adopt
from services.admin.settings import StatusSettings, WatchSettings
from services.admin.status import Partition, read_status, total
from services.admin.status_table import print_status
from services.admin.table import frame
from services.admin.watch import Watch, url_of
from shared.settings import read_settings

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
COLUMNS, TAIL_LINES = 80, 16
GATEWAY_PORT = 8001
ALERTED_TICKERS = 15
"""The table is drawn when so many tickers have had an alert and all prices have moved."""
PATIENCE_SECONDS = 120.0

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_SWITCHES = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
DESK, PHONE = (1280, 800), (390, 844)
"""Pixels of a page."""
PAGE_POINTS = 110
"""The page is drawn when its chart is full: a point a second."""
PAGE_IS_FULL = f"""() => new Promise((resolve) => setInterval(() => {{
  if (tickstream.isJoined() && tickstream.chart()?.price.length >= {PAGE_POINTS}) resolve();
}}, 200))"""
OPS_IS_FULL = """() => new Promise((resolve) => setInterval(() => {
  if (document.querySelectorAll('main *').length > 20) setTimeout(resolve, 2000);
}, 200))"""
MOST_PNG_BYTES = 200_000

THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (88, 166, 255), (188, 140, 255), (57, 197, 207), (201, 209, 217)],
)

# As rich's own, but with fonts of the reader's machine instead of one that is fetched, and without the clip that cuts the last line.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 16px; font-weight: 600; font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Draw all pictures."""
    directory = Path(tempfile.mkdtemp(prefix="tickstream-"))
    try:
        with pipeline(directory):
            os.chdir(directory)
            asyncio.run(draw_all())
    finally:
        os.chdir(ROOT)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def pipeline(directory: Path) -> Iterator[None]:
    """A running `tickstream up`; what it says is shown only if it ends by itself."""
    for server in ("redis", "postgresql"):
        (directory / DATA_DIR).mkdir(exist_ok=True)
        remember(directory / DATA_DIR / "ports.json", server, find_free_port())
    port = GATEWAY_PORT if is_port_free("127.0.0.1", GATEWAY_PORT) else find_free_port()
    os.environ.update(PYTHONPATH=str(ROOT), GATEWAY_PORT=str(port), SIMULATED_SEED="7", COLUMNS=str(COLUMNS))
    with (directory / "up.log").open("w+") as log, subprocess.Popen(
        [sys.executable, "-m", "services.admin", "up"], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    ) as up:  # fmt: skip
        try:
            yield
        finally:
            has_ended = up.poll() is not None
            up.send_signal(signal.SIGINT)
            up.wait()
            if has_ended:
                print((directory / "up.log").read_text(), file=sys.stderr)


async def draw_all() -> None:
    """Draw each command; `watch` first, since it waits until there is something to see."""
    save("watch", "tickstream watch", await watch())
    save("status", "tickstream status", await status())
    save("tail", "tickstream tail enriched", await asyncio.to_thread(tail))
    if has_browser():
        await draw_page()


async def watch() -> Callable[[Console], None]:
    """The table, once every ticker has moved and had an alert."""
    seen = Watch(url_of(read_settings(WatchSettings), "", ""))
    complete = asyncio.Event()

    def hear(message: str | None) -> None:
        prices = seen.board.prices.values()
        if len(seen.board.alerts) >= ALERTED_TICKERS and all(price.direction for price in prices):
            complete.set()

    following = asyncio.create_task(seen.follow(hear))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await complete.wait()
    drawn = frame(seen.board, seen.caption(), COLUMNS, 1000, datetime.now(UTC))
    following.cancel()
    await asyncio.wait((following,))
    return lambda console: console.print(drawn)


async def status() -> Callable[[Console], None]:
    """Both tables. The name of this machine is nobody's business."""
    adopt()
    settings = read_settings(StatusSettings)
    found = [anonymous(each) for each in await read_status(settings)]
    return lambda console: print_status(found, total(found), console)


def anonymous(partition: Partition) -> Partition:
    """With `host` in place of this machine's name."""
    holders = {service: owner.replace(gethostname(), "host") for service, owner in partition.holders.items()}
    return replace(partition, holders=holders)


def tail() -> Callable[[Console], None]:
    """The first lines of the command, as it writes them on a terminal."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "services.admin", "tail", "enriched"]
    process = subprocess.Popen(command, env={**os.environ, "TERM": "xterm"}, stdin=theirs, stdout=theirs)
    os.close(theirs)
    written = b""
    while written.count(b"\n") <= TAIL_LINES:
        written += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    process.wait()
    os.close(ours)
    text = Text.from_ansi("\n".join(written.decode().splitlines()[:TAIL_LINES]))
    return lambda console: console.print(text)


def has_browser() -> bool:
    """Whether the page can be drawn; says so if not."""
    if not CHROMIUM.exists():
        print(f"docs/images/*.png are left as they were: {CHROMIUM} is missing", file=sys.stderr)
    return CHROMIUM.exists()


class Picture(NamedTuple):
    """A page as it is drawn: its file without ending, path, pixels, colour scheme, and what is waited for in it."""

    name: str
    path: str
    pixels: tuple[int, int]
    scheme: Literal["light", "dark"]
    until: str


PICTURES = (
    Picture("page-light", "", DESK, "light", PAGE_IS_FULL),
    Picture("page-dark", "", DESK, "dark", PAGE_IS_FULL),
    Picture("page-phone", "", PHONE, "dark", PAGE_IS_FULL),
    Picture("ops-light", "ops", DESK, "light", OPS_IS_FULL),
    Picture("ops-dark", "ops", DESK, "dark", OPS_IS_FULL),
)


async def draw_page() -> None:
    """Every picture of a page that there is."""
    async with api() as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_SWITCHES))
        for picture in PICTURES:
            await photograph(browser, url, picture)
        await browser.close()


@asynccontextmanager
async def api() -> AsyncIterator[str]:
    """An API of our own on the servers of the pipeline; its URL."""
    port = find_free_port()
    variables = {**os.environ, "API_PORT": str(port), "METRICS_PORT": "0", "LOG_LEVEL": "error"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.api", env=variables, stdin=subprocess.DEVNULL)
    try:
        while is_port_free("127.0.0.1", port):
            if process.returncode is not None:
                sys.exit("the API has ended")
            await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def photograph(browser: Browser, url: str, picture: Picture) -> None:
    """Write the picture once the page is full and no price flashes; a page that is not served is left out."""
    width, height = picture.pixels
    page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=picture.scheme, reduced_motion="reduce")
    answer = await page.goto(f"{url}{picture.path}")
    if answer is not None and answer.ok:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Not wait_for_function: that evaluates text, which the page's policy refuses.
            await page.evaluate(picture.until)
        keep(IMAGES / f"{picture.name}.png", await page.screenshot())
    await page.close()


def keep(path: Path, picture: bytes) -> None:
    """Write a picture that does not weigh too much for a README."""
    assert len(picture) < MOST_PNG_BYTES, f"{path.name} has {len(picture)} bytes"
    path.write_bytes(picture)
    print(path.relative_to(ROOT))


def save(name: str, title: str, draw: Callable[[Console], None]) -> None:
    """Write the picture of what `draw` prints."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="standard", highlight=False)
    draw(console)
    svg = console.export_svg(title=title, theme=THEME, code_format=SVG, unique_id=name)
    (IMAGES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    print(f"docs/images/{name}.svg")


if __name__ == "__main__":
    main()
