"""Which real servers the tests run against: given ones, else containers, else embedded ones; never none, never silently.

The choice is pure. What it needs to know is asked only if it matters: with a URL given nobody looks for an engine.
"""

import gc
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from services.admin.embedded.redis import find_flavours

# The floor of what is supported, and the version of the embedded wheel.
REDIS_IMAGE = "redis:7.0-alpine"
POSTGRES_IMAGE = "postgres:18-alpine"

TEST_REDIS = os.environ.get("TEST_REDIS", "")
"""Which server every Redis that the tests embed is: `path` (redis-server or valkey-server on PATH), `wheel`, or whichever comes first."""


@dataclass(frozen=True)
class Choice:
    """How the tests get a server (`given`, `container` or `embedded`), and why so."""

    how: str
    why: str

    def __str__(self) -> str:
        return f"{self.how} ({self.why})"


def search_path() -> str:
    """Where `EmbeddedRedis` looks for a server before it takes that of the wheel: with TEST_REDIS=wheel, nowhere."""
    return "" if TEST_REDIS == "wheel" else os.environ.get("PATH", os.defpath)


def embedded_flavour() -> str:
    """The server that is embedded, as it names itself; raise `RuntimeError` if TEST_REDIS asks for one that is not there."""
    if TEST_REDIS not in ("", "path", "wheel"):
        raise RuntimeError(f"TEST_REDIS={TEST_REDIS}: must be path or wheel")
    with tempfile.TemporaryDirectory() as copies:
        found = find_flavours(search_path(), Path(copies))
    usable = [flavour for flavour in found if TEST_REDIS != "path" or not flavour.is_from_wheel]
    if not usable:
        raise RuntimeError(f"TEST_REDIS={TEST_REDIS or '(not set)'}: there is no such server here")
    return str(usable[0])


def choose(variable: str, given: str | None, why_no_container: Callable[[], str | None]) -> Choice:
    """A URL in `variable` wins; then containers, unless `why_no_container` gives a reason; else embedded."""
    if given:
        return Choice("given", f"{variable} is set")
    reason = why_no_container()
    if reason is None:
        return Choice("container", f"{variable} is not set, and a container engine answers")
    return Choice("embedded", f"{variable} is not set, and {reason}")


def why_no_container(image: str) -> str | None:
    """None if an engine answers a ping and the image can be had; else why containers cannot be used."""
    with warnings.catch_warnings():
        # A client that finds no engine leaves its socket open.
        warnings.simplefilter("ignore", ResourceWarning)
        reason = _ask_engine(image)
        gc.collect()
    return reason


def _ask_engine(image: str) -> str | None:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.docker_client import DockerClient

    # The engine's client gives its failures no common type.
    try:
        engine = DockerClient().client
        engine.ping()
    except Exception as error:
        return f"no container engine answers ({root_cause(error)})"
    try:
        # Ryuk removes the containers of tests that were killed.
        for needed in (image, testcontainers_config.ryuk_image):
            if not engine.images.list(needed):
                engine.images.pull(needed)
    except Exception as error:
        return f"the image {image} cannot be had ({root_cause(error)})"
    finally:
        engine.close()
    return None


def root_cause(error: BaseException) -> str:
    """The text of the error that began it, in one line."""
    while earlier := error.__cause__ or error.__context__:
        error = earlier
    return " ".join(str(error).split())


def redis_database_of_worker(url: str, worker: str) -> str:
    """The URL with a database number of its own for each worker (`gw0`, `gw1`, …; without workers the URL's own)."""
    parts = urlsplit(url)
    first = int(parts.path.strip("/") or 0)
    number = int(worker.removeprefix("gw")) if worker.startswith("gw") else 0
    return urlunsplit(parts._replace(path=f"/{first + number}"))


@contextmanager
def borrow_redis(url: str) -> Iterator[str]:
    """A database of somebody's Redis: refused unless empty, since tests delete everything; left empty."""
    with redis.Redis.from_url(url) as client:
        keys = client.dbsize()
        if keys:
            database = urlsplit(url).path
            raise RuntimeError(f"database {database} of REDIS_URL holds {keys} keys, and tests delete everything: give an empty one")
        yield url
        client.flushdb()


@contextmanager
def run_redis(choice: Choice, given: str | None, data_dir: Path, worker: str) -> Iterator[str]:
    """Yield the URL of a Redis database for this worker alone."""
    if choice.how == "given":
        with borrow_redis(redis_database_of_worker(str(given), worker)) as url:
            yield url
    elif choice.how == "container":
        from testcontainers.community.redis import RedisContainer

        with RedisContainer(REDIS_IMAGE) as container:
            yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
    else:
        with EmbeddedRedis(data_dir, find_free_port(), appendonly=False, search_path=search_path()) as server:
            yield server.url


@contextmanager
def run_postgres(choice: Choice, given: str | None, data_dir: Path) -> Iterator[str]:
    """Yield the URL of a PostgreSQL whose role may create databases."""
    if choice.how == "given":
        yield str(given)
    elif choice.how == "container":
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
            yield container.get_connection_url()
    else:
        with EmbeddedPostgres(data_dir, find_free_port(), durable=False) as server:
            yield server.url


def copy_data(at_rest: Path, data_dir: Path) -> None:
    """Copy the data of a server that does not run, and whose they are: PostgreSQL starts only as the owner of its own."""
    data_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{at_rest}/.", str(data_dir)], check=True)
