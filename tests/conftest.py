"""Real servers for the tests: one Redis and one PostgreSQL per worker, started when the first test asks."""

import asyncio
import asyncio.constants
import fcntl
import gc
import os
import secrets
import shutil
import signal
import traceback
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings as hypothesis_settings
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port, ports
from services.admin.migrate import migrate_postgres
from shared.redis.client import connect
from tests.servers import (
    POSTGRES_IMAGE,
    REDIS_IMAGE,
    TEST_REDIS,
    Choice,
    choose,
    copy_data,
    embedded_flavour,
    run_postgres,
    run_redis,
    search_path,
    why_no_container,
)

TESTS = Path(__file__).parent
GIVEN_REDIS = os.environ.get("REDIS_URL")
GIVEN_POSTGRES = os.environ.get("DATABASE_URL")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")


def _extract_first(
    cls: type[traceback.StackSummary], frames: Iterable[tuple[FrameType, int]], /, **_options: object
) -> traceback.StackSummary:
    """As `StackSummary.extract`, of the innermost frame alone and without its line of source."""
    for frame, line in frames:
        return cls([traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name, lookup_line=False)])
    return cls()


# asyncio's debug mode notes where each callback and future was made. Whole stacks, read from their files, took a third of the suite's
# time; the innermost frame is enough to find the place.
traceback.StackSummary.extract = classmethod(_extract_first)  # type: ignore[assignment]
# The interpreter notes by itself where coroutines were made, so many frames deep.
asyncio.constants.DEBUG_STACK_DEPTH = 1  # type: ignore[misc]  # typeshed calls it final; there is no other way to say it


def _own_ports(number: int, count: int) -> tuple[int, int]:
    """The first and the last port of a worker's part: what one has found and not yet taken, no other finds."""
    size = (ports.LAST_PORT - ports.FIRST_PORT + 1) // count
    first = ports.FIRST_PORT + number % count * size  # a worker in the place of one that died has a number beyond
    return first, first + size - 1


if WORKER != "alone":
    ports.FIRST_PORT, ports.LAST_PORT = _own_ports(int(WORKER.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))

# Background jobs of a shell ignore SIGINT, and whatever they start does: a service that is sent one would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

WITHOUT_DEBUG_MODE = frozenset({"browser", "e2e", "examples", "faults"})
"""Where the loop of a test looks at other processes, or plays thousands of faults: debug mode triples what each turn of it costs."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run the loops of unit, integration, client and contract tests in asyncio's debug mode: there the code under test runs in them."""
    area = item.path.relative_to(TESTS).parts[0]
    item.config.option.asyncio_debug = area not in WITHOUT_DEBUG_MODE


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected lives as long as the run: the collector need not go through it, now or with every test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# By default an example that takes 200 ms fails: a timing assertion, and a busy machine is no bug.
hypothesis_settings.register_profile("tickstream", deadline=None)
hypothesis_settings.load_profile("tickstream")

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30
"""What a run may need there: a few PostgreSQL with their logs for each worker, and the directories of failed tests."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep directories of tests in memory where there is room: making the thousand files of a database costs a disk ten times as much."""
    del config
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_room(MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def _has_room(directory: Path) -> bool:
    """Whether programs may be started from there, too: containers forbid it."""
    if not os.access(directory, os.W_OK):
        return False
    found = os.statvfs(directory)
    return not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= MEMORY_BYTES


CHOICES = pytest.StashKey[dict[str, Choice]]()


def choices(config: pytest.Config) -> dict[str, Choice]:
    """How this run gets its servers, decided once: a worker is told by the process that started it."""
    if CHOICES not in config.stash:
        told = getattr(config, "workerinput", {}).get("servers")
        config.stash[CHOICES] = {name: Choice(*words) for name, words in told.items()} if told else decide()
    return config.stash[CHOICES]


def decide() -> dict[str, Choice]:
    """Look at the environment, and for a container engine."""
    return {
        "redis": choose("REDIS_URL", GIVEN_REDIS, lambda: why_no_container(REDIS_IMAGE)),
        "postgresql": choose("DATABASE_URL", GIVEN_POSTGRES, lambda: why_no_container(POSTGRES_IMAGE)),
    }


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which servers: a silent fall-back would be taken for something else."""
    lines = [f"{name}: {choice}" for name, choice in choices(config).items()]
    return [*lines, f"embedded redis: {embedded_flavour()} (TEST_REDIS={TEST_REDIS or 'not set'})"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the choices."""
    node.workerinput["servers"] = {name: (choice.how, choice.why) for name, choice in choices(node.config).items()}


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of this worker's Redis; a test that wants it empty takes `redis` too."""
    data_dir = tmp_path_factory.mktemp("redis")
    with run_redis(choices(pytestconfig)["redis"], GIVEN_REDIS, data_dir, WORKER) as url:
        yield url
    shutil.rmtree(data_dir)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of this worker's Redis, which is empty."""
    async with connect(redis_url, service="tests") as client:
        # Not FLUSHALL: of a given Redis only this worker's database is ours.
        await client.flushdb()
        yield client


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of this worker's PostgreSQL, for creating databases; tests take `database_url`."""
    data_dir = tmp_path_factory.mktemp("postgres")
    if choices(pytestconfig)["postgresql"].how == "embedded":
        copy_data(request.getfixturevalue("postgres_at_rest"), data_dir)
    with run_postgres(choices(pytestconfig)["postgresql"], GIVEN_POSTGRES, data_dir) as url:
        yield url
    shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def migrated_database(postgres_url: str) -> str:
    """The name of a database with the schema, which no deployment has claimed: a copy of it is made faster than the schema."""
    name = f"tickstream_template_{secrets.token_hex(6)}"
    asyncio.run(_migrate(postgres_url, name))
    return name


async def _migrate(postgres_url: str, name: str) -> None:
    administration = await asyncpg.connect(postgres_url)
    await administration.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await administration.close()
    url = _database_of(postgres_url, name)
    await migrate_postgres(url, 1)
    database = await asyncpg.connect(url)
    await database.execute("DELETE FROM deployment")
    await database.close()


@pytest.fixture
async def database_url(postgres_url: str, migrated_database: str) -> AsyncIterator[str]:
    """The URL of a database of this test's own, gone afterwards: with the schema, without rows, of no deployment yet."""
    async with own_database(postgres_url, migrated_database) as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database of this test's own, gone afterwards: nothing is in it."""
    async with own_database(postgres_url, "template0") as url:
        yield url


@asynccontextmanager
async def own_database(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of a database, gone afterwards."""
    name = f"tickstream_test_{secrets.token_hex(6)}"
    administration = await asyncpg.connect(postgres_url)
    try:
        # Copied as files: a third of what it costs to write every block to the log.
        await administration.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield _database_of(postgres_url, name)
        await administration.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await administration.close()


def _database_of(postgres_url: str, name: str) -> str:
    return urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis of this test's own, with an append-only file: it may be killed, and started again with its data."""
    data_dir = tmp_path_factory.mktemp("redis-server")
    with EmbeddedRedis(data_dir, find_free_port(), search_path=search_path()) as server:
        yield server
    shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def postgres_at_rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a new PostgreSQL that does not run: copying them takes a twentieth of making them.

    Made by the first worker that asks; all others wait, and copy the same. They go with the directories of the whole run.
    """
    own = tmp_path_factory.getbasetemp()
    data_dir = (own if WORKER == "alone" else own.parent) / "postgres-at-rest"
    with data_dir.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data_dir.exists():
            begun = data_dir.with_suffix(".begun")
            with EmbeddedPostgres(begun, find_free_port(), durable=False):
                pass
            begun.rename(data_dir)
    return data_dir


@pytest.fixture
def postgres_server(tmp_path_factory: pytest.TempPathFactory, postgres_at_rest: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test's own: it may be killed, and started again with its data."""
    data_dir = tmp_path_factory.mktemp("postgres-server")
    copy_data(postgres_at_rest, data_dir)
    with EmbeddedPostgres(data_dir, find_free_port(), durable=False) as server:
        yield server
    shutil.rmtree(data_dir)
