"""A Redis that is there and refuses: every service waits without a busy loop, says why and what to do, and goes on by itself.

Row R5 of the faults. The services are processes on a Redis of the test's own, as a user of theirs with a password.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.exceptions import RedisError

from services.admin.embedded import EmbeddedRedis, find_free_port
from services.admin.migrate import load_library
from shared.redis.client import connect
from shared.redis.log import LIBRARY
from tests.e2e.pipeline import SERVICES, Pipeline, Service, until
from tests.e2e.playing import run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.test_metrics import says, start_observed
from tests.e2e.viewer import Viewer
from tests.faults.small_market import STEP, small_outcome
from tests.observed import Observed

PARTITIONS = 4
USER, PASSWORD = "tickstream", "geheim-4711"
TICKS_A_SECOND = 800
EARLY_TICKS = 1000
HELD_SECONDS = 2.0
"""How long a fault goes on after every service has told of it: a busy loop would show in the number of calls."""
MOST_CALLS_A_SECOND = 1500
"""Three services that look at four leases ten times a second, gateway and persister that read: about 400. A busy loop: above 10 000."""
WAITING = ("waiting", "waiting, nothing is lost", "append waits", "leases wait for redis", "redis is away, trying again")


def user_with(password: str) -> str:
    """The user of the services, as the server's configuration has it."""
    return f"{USER} on >{password} ~* +@all"


class RefusingRedis(EmbeddedRedis):
    """A Redis whose next start takes further options."""

    further: Mapping[str, str] = {"user": user_with(PASSWORD)}

    def _options(self, directory: Path) -> Iterator[str]:
        yield from super()._options(directory)
        for option, value in self.further.items():
            yield from (f"--{option}", *value.split())


class Scene(NamedTuple):
    """What a fault can be done to."""

    server: RefusingRedis
    admin: Any
    """A client that nothing is refused; its stubs type every reply as a union that only tests would have to take apart."""


Fault = Callable[[Scene], AbstractAsyncContextManager[None]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RefusingRedis]:
    with RefusingRedis(tmp_path / "redis", find_free_port()) as server:
        yield server


@pytest.fixture
async def scene(server: RefusingRedis) -> AsyncIterator[Scene]:
    async with connect(server.url, service="tests") as admin:
        # What was answered is with the kernel then, and survives the process.
        await admin.config_set("appendfsync", "no")
        yield Scene(server, admin)


@asynccontextmanager
async def busy(scene: Scene) -> AsyncIterator[None]:
    """A stranger's function runs for ever, until FUNCTION KILL."""
    await scene.admin.config_set("busy-reply-threshold", 50)
    spin = "redis.register_function('spin', function() while true do end end)"
    await scene.admin.function_load(f"#!lua name=stranger\n{spin}")
    async with connect(scene.server.url, service="stranger") as stranger:
        spinning: asyncio.Future[Any] = asyncio.ensure_future(stranger.fcall("spin", 0))
        try:
            yield
        finally:
            await asyncio.wait({spinning}, timeout=0)
            await scene.admin.execute_command("FUNCTION KILL")
            await asyncio.wait({spinning})
            assert isinstance(spinning.exception(), RedisError)


@asynccontextmanager
async def without_library(scene: Scene) -> AsyncIterator[None]:
    await scene.admin.function_delete(LIBRARY)
    yield
    await load_library(scene.admin)


def without_commands(*commands: str) -> Fault:
    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        await scene.admin.acl_setuser(USER, enabled=True, commands=[f"-{command}" for command in commands])
        yield
        await scene.admin.acl_setuser(USER, enabled=True, categories=["+@all"])

    return fault


@asynccontextmanager
async def replica(scene: Scene) -> AsyncIterator[None]:
    """It became the replica of a primary that is not there."""
    await scene.admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    await scene.admin.execute_command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def unable_to_save(scene: Scene) -> AsyncIterator[None]:
    """A snapshot cannot be put in place: a directory has its name. Permissions would not stop root."""
    directory = Path((await scene.admin.config_get("dir"))["dir"])
    obstacle = directory / "dump.rdb" / "obstacle"
    obstacle.mkdir(parents=True)
    await scene.admin.config_set("save", "3600 100000000")
    await save(scene.admin, "err")
    yield
    obstacle.rmdir()
    obstacle.parent.rmdir()
    await save(scene.admin, "ok")


async def save(admin: Any, outcome: str) -> None:
    async def has_come() -> bool:
        found = await admin.info("persistence")
        if found["rdb_bgsave_in_progress"] == 0 and found["rdb_last_bgsave_status"] != outcome:
            await admin.bgsave()
        return bool(found["rdb_last_bgsave_status"] == outcome)

    await until(has_come, f"a snapshot to end with {outcome}")


@asynccontextmanager
async def loading(scene: Scene) -> AsyncIterator[None]:
    """It is killed, and loads for as long as is wanted: so many microseconds a command, and a thousand of them between two answers."""
    await scene.admin.eval("for i = 1, 100000 do redis.call('SET', 'filler', i) end", 0)
    scene.server.kill()
    scene.server.further = {**scene.server.further, "key-load-delay": "250"}
    starting = asyncio.create_task(asyncio.to_thread(scene.server.start))
    yield
    await scene.admin.connection_pool.disconnect()
    await scene.admin.config_set("key-load-delay", "0")
    await starting
    await forget_connections(scene.admin)
    await scene.admin.delete("filler")


@asynccontextmanager
async def other_password(scene: Scene) -> AsyncIterator[None]:
    """It was restarted with another password for the user of the services."""
    scene.server.kill()
    scene.server.further = {"user": user_with("another")}
    await asyncio.to_thread(scene.server.start)
    await forget_connections(scene.admin)
    yield
    await scene.admin.acl_setuser(USER, enabled=True, passwords=[f"+{PASSWORD}"])


async def forget_connections(admin: Any) -> None:
    await admin.connection_pool.disconnect()
    await admin.config_set("appendfsync", "no")


def is_refused(what: str, words: str) -> dict[str, dict[str, str]]:
    """The checks of `/readyz` that fail in every service, the gateway excepted if it only reads."""
    everybody = {name: {what: words} for name in SERVICES}
    if what == "leases":
        del everybody["gateway"]
    return everybody


class Case(NamedTuple):
    """A fault, and what `/readyz` of each service says of it."""

    fault: Fault
    checks: dict[str, dict[str, str]]
    restarts: int = 0


CASES = {
    "library": Case(without_library, is_refused("functions", "run `tickstream migrate`")),
    "no-fcall": Case(without_commands("fcall"), is_refused("leases", "ACL SETUSER")),
    "no-inner-write": Case(without_commands("hset"), {"fetcher": {}, "analyzer": {}}),
    "no-reads": Case(without_commands("xread", "hmget", "hget"), {"gateway": {"streams": "not heard of"}}),
    "busy": Case(busy, is_refused("redis", "BUSY")),
    "replica": Case(replica, is_refused("leases", "is a replica"), restarts=1),
    "save": Case(unable_to_save, is_refused("leases", "MISCONF")),
    "loading": Case(loading, is_refused("redis", "loading"), restarts=1),
    "password": Case(other_password, is_refused("redis", "invalid username-password"), restarts=1),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
async def test_a_redis_that_refuses_is_waited_out_and_nothing_is_lost(
    scene: Scene, database_url: str, small_replay_file: Path, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    proof = Proof(scene.admin, database_url, small_outcome(PARTITIONS))
    url = scene.server.url.replace("redis://", f"redis://{USER}:{PASSWORD}@")
    replay = {"SOURCE": "replay", "REPLAY_FILE": str(small_replay_file), "REPLAY_SPEED": str(STEP.total_seconds() * TICKS_A_SECOND)}
    async with Pipeline(url, database_url, tmp_path, PARTITIONS, **replay) as pipeline:
        await pipeline.migrate()
        started = start_observed(pipeline, "gateway", "persister", "analyzer")
        async with Viewer(pipeline.port) as viewer:
            for name_of_service, (_, observed) in started.items():
                await until(observed.is_ready, f"{name_of_service} to be ready")
            started |= start_observed(pipeline, "fetcher")
            assert await run_until(pipeline, proof, "analyzer", EARLY_TICKS)
            await hold(case, scene, pipeline, started)
            await run_to_the_end(pipeline, proof, viewer)
        check_told_once([service for service, _ in started.values()])
    await proof.check_all(incarnations=1 + case.restarts)
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)


async def hold(case: Case, scene: Scene, pipeline: Pipeline, started: dict[str, tuple[Service, Observed]]) -> None:
    """Let the fault go on until every service tells of it, and a while longer; no process ends, and the calls stay few."""
    (process, before), began = await calls(scene.admin), time.monotonic()
    async with case.fault(scene):
        # All at once: a fault that ends by itself may be over before one after the other was asked.
        async with asyncio.TaskGroup() as asking:
            for name, checks in case.checks.items():
                if any(checks.values()):
                    asking.create_task(pipeline.until(says(started[name][1], **checks), f"{name} to say {checks}"))
        await asyncio.sleep(HELD_SECONDS)
        for service, _ in started.values():
            service.check_alive()
    seconds = time.monotonic() - began
    process_now, asked = await calls(scene.admin)
    assert asked - before * (process_now == process) < MOST_CALLS_A_SECOND * seconds


async def calls(admin: Any) -> tuple[int, int]:
    """The process of Redis, and how many commands it was asked for since it was started, those that it refused included."""
    stats = await admin.info("commandstats")
    # Those that a function runs are counted beside it.
    asked = ("cmdstat_fcall", "cmdstat_xread", "cmdstat_hmget", "cmdstat_hget", "cmdstat_auth", "cmdstat_hello", "cmdstat_ping")
    count = sum(stats[name]["calls"] + stats[name]["rejected_calls"] for name in asked if name in stats)
    return (await admin.info("server"))["process_id"], count


def check_told_once(services: list[Service]) -> None:
    """Each loop of a service says once that it waits, and why; and no password."""
    for service in services:
        told = [
            (line["event"], line.get("partition"), line.get("stream"), line.get("what")) for line in service.log if line["event"] in WAITING
        ]
        assert all(line["reason"] for line in service.log if line["event"] in WAITING)
        assert len(told) == len(set(told)), f"{service.name} says it again: {told}"
        assert PASSWORD not in service.text
