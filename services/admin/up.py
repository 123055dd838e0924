"""`tickstream up`, what `make run` calls: the whole pipeline as children of this process, until Ctrl-C.

Order of start: servers, migration, services. Order of stop: services, servers. Whatever ends it, nothing stays behind.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from services.admin.addresses import EVERY_ADDRESS, gateway_url, reachable
from services.admin.board import Board
from services.admin.embedded import EmbeddedError
from services.admin.endings import ending_report
from services.admin.feed import follow
from services.admin.foreground import ignore_suspension, own_foreground_group
from services.admin.gateway_token import gateway_token
from services.admin.ports import metrics_ports, wanted_ports
from services.admin.processes import Program, Service
from services.admin.running import DATA_DIR, AlreadyRunning, only_one, publish
from services.admin.screen import Screen, open_screen
from services.admin.servers import plan_postgresql, plan_redis, serving
from services.admin.settings import UpSettings
from services.admin.table import Caption, health, services_line
from shared.errors import ConfigurationError, Problem
from shared.processes import command_of
from shared.runtime import wait_or_stop

ONE_WISH_SECONDS = 0.5
"""Signals within this time are one wish, see `Pipeline._signals`."""

PAGE_SECONDS = 5.0
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 20.0
"""After this long without a gateway that answers, say what is being waited for."""


def run_up(settings: UpSettings) -> int:
    """Run the pipeline in the current directory until a signal; return the exit code."""
    ignore_suspension()
    try:
        with own_foreground_group(), only_one(DATA_DIR):
            return asyncio.run(Pipeline(settings, find_ports(settings), DATA_DIR, open_screen(DATA_DIR)).run())
    except (AlreadyRunning, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 2
    except (EmbeddedError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 0


class Ports(NamedTuple):
    """Where the services listen: the API, each gateway, and each process for its metrics (none: off)."""

    api: int
    gateways: list[int]
    metrics: list[int]


def find_ports(settings: UpSettings) -> Ports:
    """Raise `ConfigurationError` for the first port that somebody asked for and that cannot be used."""
    (api,) = wanted_ports("API", settings.api_host, settings.api_port)
    gateways = wanted_ports("GATEWAY", settings.gateway_host, settings.gateway_port, settings.scale["gateway"])
    if api in gateways:
        raise ConfigurationError((Problem("API_PORT", str(api), "is also the port of a gateway; choose another API_PORT or GATEWAY_PORT"),))
    return Ports(api, gateways, metrics_ports(settings.metrics_host, settings.metrics_port, _processes(settings), (api, *gateways)))


def _processes(settings: UpSettings) -> list[int]:
    """How many ports for metrics each process needs, in the order of their start: the workers of a gateway count up from its own."""
    gateway = 1 if settings.gateway_workers == 1 else 1 + settings.gateway_workers
    return [gateway if name == "gateway" else 1 for name, number in settings.scale.items() for _ in range(number)] + [1]


class Pipeline:
    """The servers, the services and the screen of one `up`."""

    def __init__(self, settings: UpSettings, ports: Ports, data_dir: Path, screen: Screen) -> None:
        self._settings = settings
        self._ports = ports
        self._data_dir = data_dir
        self._screen = screen
        taken = {ports.api, *ports.gateways, *ports.metrics}
        self._redis = plan_redis(settings, data_dir, taken)
        self._postgresql = plan_postgresql(settings, data_dir, taken)
        self._services: list[Service] = []
        self._board = Board()
        self._was_killed = False

    async def run(self) -> int:
        """Start everything in order, wait for a signal, stop everything; return the exit code."""
        stop, stop_servers = asyncio.Event(), asyncio.Event()
        self._screen.say(_data_line(self._data_dir))
        with self._signals(stop):
            async with AsyncExitStack() as servers:
                for server in (self._redis, self._postgresql):
                    if not stop.is_set():
                        await servers.enter_async_context(serving(server, self._screen.say, stop_servers))
                code = 0 if stop.is_set() else await self._run_services(stop)
            self._screen.say("stopped")
        return 1 if self._was_killed else code

    @contextmanager
    def _signals(self, stop: asyncio.Event) -> Iterator[None]:
        """The first signal, or a reader that went away, stops in order; a second Ctrl-C kills, so that the order takes no time."""
        loop = asyncio.get_running_loop()
        asked_at = 0.0

        def on_signal(number: signal.Signals) -> None:
            nonlocal asked_at
            if not stop.is_set():
                asked_at = loop.time()
                self._screen.say("stopping … (a second Ctrl-C kills)")
                stop.set()
            # One wish may come twice: make passes on what its whole group was sent, a closing terminal hangs up again.
            elif number != signal.SIGHUP and loop.time() - asked_at > ONE_WISH_SECONDS:
                self._kill_all()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Whoever starts us with nohup wants us to stay.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, on_signal, number)
        watching = asyncio.create_task(_stop_without_reader(self._screen, stop))
        try:
            yield
        finally:
            watching.cancel()

    def _kill_all(self) -> None:
        self._was_killed = True
        for service in self._services:
            service.kill()
        for server in (self._redis, self._postgresql):
            if server.embedded and server.embedded.is_running:
                os.kill(server.embedded.pid, signal.SIGKILL)

    async def _run_services(self, stop: asyncio.Event) -> int:
        if (code := await self._migrate(stop)) or stop.is_set():
            return code
        servers = {server.variable: server.url for server in (self._redis, self._postgresql)}
        gateway = {"GATEWAY_HOST": self._settings.gateway_host, "GATEWAY_PORT": str(self._ports.gateways[0])}
        kind = {"REDIS_CLUSTER": "1"} if self._settings.redis_cluster else {}
        publish(self._data_dir, {**servers, **kind, **gateway})
        self._services = [self._service(program) for program in self._programs()]
        self._screen.say(_source_line(self._settings))
        self._screen.say(f"starting {', '.join(service.program.name for service in self._services)} …")
        tasks = [asyncio.create_task(service.run(stop), name=service.program.name) for service in self._services]
        tasks.append(asyncio.create_task(self._show(stop), name="show"))
        try:
            await asyncio.gather(*tasks)
        finally:
            # Only if one of them failed by a fault of ours: the others are stopped in order all the same.
            stop.set()
            await asyncio.wait(tasks)
        return 2 if any(service.was_refused for service in self._services) else 0

    async def _migrate(self, stop: asyncio.Event) -> int:
        """Bring schema and configuration up to date in a process of its own, which a signal ends at any time."""
        self._screen.say("migrating …")
        migration = self._service(Program("migrate", command_of("services.admin", "migrate"), self._environment()))
        self._services = [migration]
        code = await migration.run_once(stop)
        if stop.is_set() or code == 0:
            return 0
        for line in ending_report("the migration", code, migration.last_lines):
            self._screen.say(line)
        return 2 if code == 2 else 1

    def _service(self, program: Program) -> Service:
        return Service(program, self._screen.log, self._screen.say)

    def _programs(self) -> Iterator[Program]:
        metrics = iter(self._ports.metrics)
        for name, number in self._settings.scale.items():
            for index in range(number):
                port = {"METRICS_PORT": str(next(metrics, 0))}
                if name == "gateway":
                    port["GATEWAY_PORT"] = str(self._ports.gateways[index])
                shown = f"{name}-{index + 1}" if number > 1 else name
                # A replay is over when its file is.
                may_finish = name == "fetcher" and self._settings.source == "replay"
                yield Program(shown, command_of(f"services.{name}"), {**self._environment(), **port}, may_finish)
        # Its page connects to the first gateway, unless GATEWAY_PUBLIC_URL names another.
        ports = {"GATEWAY_PORT": str(self._ports.gateways[0]), "METRICS_PORT": str(next(metrics, 0))}
        yield Program("api", command_of("services.api"), {**self._environment(), **ports})

    def _environment(self) -> Mapping[str, str]:
        """Ours, and where the embedded servers are; a log that a person reads is text."""
        readable = {"LOG_FORMAT": "text"} if sys.stdout.isatty() and not os.environ.get("LOG_FORMAT") else {}
        return {**os.environ, **readable, **self._redis.environment, **self._postgresql.environment, "PYTHONUNBUFFERED": "1"}

    async def _show(self, stop: asyncio.Event) -> None:
        """Say when the gateway answers and what can be reached where, then show the prices until `stop`."""
        ready = asyncio.Event()
        urls = [gateway_url(self._settings.gateway_host, port) for port in self._ports.gateways]
        token = gateway_token(self._settings)
        following = asyncio.create_task(follow(urls, self._board, ready, token=token), name="follow")
        try:
            await self._wait_until(ready, stop, following)
            await self._wait_for_page(stop)
            if following.done():
                self._screen.say(f"no prices are shown here, the gateway refuses us: {following.result()}")
            if (ready.is_set() or following.done()) and not stop.is_set():
                self._say_where(urls)
                await self._screen.show(self._board, lambda: self._caption(urls), stop)
            await stop.wait()
        finally:
            following.cancel()

    async def _wait_until(self, ready: asyncio.Event, stop: asyncio.Event, following: asyncio.Task[str]) -> None:
        waiting = [asyncio.create_task(event.wait()) for event in (ready, stop)]
        try:
            while not (await asyncio.wait([*waiting, following], timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED))[0]:
                self._screen.say("still waiting for the gateway to answer")
        finally:
            for task in waiting:
                task.cancel()

    async def _wait_for_page(self, stop: asyncio.Event) -> None:
        """What is said to be there should be; but nobody waits long for it, the prices are."""
        host = EVERY_ADDRESS.get(self._settings.api_host, self._settings.api_host)
        with suppress(TimeoutError):
            async with asyncio.timeout(PAGE_SECONDS):
                while not await _is_listening(host, self._ports.api) and not await wait_or_stop(stop, LOOK_SECONDS):
                    pass

    def _say_where(self, urls: Sequence[str]) -> None:
        self._screen.say("ready")
        self._screen.say(f"  page        http://{reachable(self._settings.api_host)}:{self._ports.api}/  (REST: /docs)")
        for url in urls:
            self._screen.say(f"  gateway     {url}")
        self._screen.say(f"  Redis       {self._redis.shown_url}")
        self._screen.say(f"  PostgreSQL  {self._postgresql.psql}")
        if self._ports.metrics:
            rows = zip(self._ports.metrics, _processes(self._settings), strict=True)
            ports = [port for first, needed in rows for port in range(first, first + needed)]
            self._screen.say(f"  metrics     {_metrics_urls(self._settings.metrics_host, ports)}")
        self._screen.say("  Ctrl-C stops everything; the data stay in .data/")

    def _caption(self, urls: Sequence[str]) -> Caption:
        board, now = self._board, asyncio.get_running_loop().time()
        facts = [
            self._settings.chosen_source[0],
            f"{len(board.prices)} tickers",
            f"{board.updates_per_second(now):.1f} updates/s",
        ]
        services = Text(services_line([(service.program.name, service.state) for service in self._services]))
        lines = tuple(line for line in (services, health(board, datetime.now(UTC))) if line)
        return Caption(" · ".join(["tickstream", *facts]), lines, f"{urls[0]} · Ctrl-C stops")


async def _is_listening(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _data_line(data_dir: Path) -> str:
    age = "kept from an earlier run" if any((data_dir / name).exists() for name in ("redis", "postgresql")) else "new"
    return f"tickstream in {Path.cwd()}, data in {data_dir}/ ({age})"


async def _stop_without_reader(screen: Screen, stop: asyncio.Event) -> None:
    await screen.is_gone.wait()
    stop.set()


def _metrics_urls(host: str, ports: Sequence[int]) -> str:
    """The first process's page, and the ports of the others, in the order in which the services are started."""
    others = ports[1:]
    is_row = ports[-1] - ports[0] == len(others)
    more = f" … {others[-1]}" if is_row and others else "".join(f", {port}" for port in others)
    return f"http://{reachable(host)}:{ports[0]}/metrics{more}"


def _source_line(settings: UpSettings) -> str:
    source, reason = settings.chosen_source
    file = f" of {os.environ.get('REPLAY_FILE', '(REPLAY_FILE is not set)')}" if source == "replay" else ""
    return f"source: {source}{file} ({reason})"
