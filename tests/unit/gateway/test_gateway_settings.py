"""What the environment of a gateway may say of who is let in: one line per bad variable, the key never shown."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.gateway.settings import GatewaySettings
from shared.errors import ConfigurationError
from shared.settings import read_settings
from tests.keys import ED25519, SECRET, private_pem, public_pem

VARIABLES = (
    "AUTH", "JWT_KEY", "JWT_KEY_FILE", "JWT_AUDIENCE", "ALLOWED_ORIGINS", "MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_IP", "TRUSTED_PROXIES",
)  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which only Redis is set."""
    for name in VARIABLES:
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    return monkeypatch


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> GatewaySettings:
    for name, value in variables.items():
        monkeypatch.setenv(f"GATEWAY_{name}", value)
    return read_settings(GatewaySettings)


def complaint(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        read(monkeypatch, **variables)
    return str(error.value)


def test_defaults_are_those_of_the_contract(environment: pytest.MonkeyPatch) -> None:
    found = read(environment)
    assert (found.gateway_auth, found.gateway_jwt_key, found.gateway_jwt_audience) == ("none", None, None)
    assert (found.gateway_max_connections, found.gateway_max_connections_per_ip) == (10_000, 0)
    assert (found.gateway_allowed_origins, found.gateway_trusted_proxies) == ((), ())


def test_lists_are_comma_lists(environment: pytest.MonkeyPatch) -> None:
    found = read(environment, ALLOWED_ORIGINS="https://a.org, null,http://[::1]:8000/", TRUSTED_PROXIES="10.0.0.7, fd00::/8")
    assert found.gateway_allowed_origins == ("https://a.org", "null", "http://[::1]:8000/")
    assert found.gateway_trusted_proxies == ("10.0.0.7", "fd00::/8")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("AUTH", "maybe", "'none' or 'jwt'"),
        ("MAX_CONNECTIONS", "-1", "greater than or equal to 0"),
        ("MAX_CONNECTIONS_PER_IP", "x", "valid integer"),
        ("ALLOWED_ORIGINS", "https://a.org,b.org", "'b.org' is not an origin such as"),
        ("ALLOWED_ORIGINS", "https://*.b.org", "is not an origin such as"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "'10.0.0.1/8' is not an address"),
        ("TRUSTED_PROXIES", "10.0.0.1,proxy", "'proxy' is not an address"),
    ],
)
def test_bad_value_is_one_line(name: str, value: str, problem: str, environment: pytest.MonkeyPatch) -> None:
    line = complaint(environment, **{name: value})
    assert line.startswith(f"GATEWAY_{name}={value}: ")
    assert problem in line
    assert "\n" not in line


def test_jwt_without_a_key_is_refused(environment: pytest.MonkeyPatch) -> None:
    assert complaint(environment, AUTH="jwt") == (
        "GATEWAY_JWT_KEY=(not set): must be set if GATEWAY_AUTH is jwt: a secret, or a public key in PEM"
    )


def test_key_without_jwt_is_refused_as_everybody_would_be_let_in(environment: pytest.MonkeyPatch) -> None:
    line = complaint(environment, JWT_KEY=SECRET)
    assert line.startswith("GATEWAY_JWT_KEY=(hidden): is given, but GATEWAY_AUTH is none")


def test_bad_key_is_one_line_that_does_not_show_it(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = complaint(environment, AUTH="jwt", JWT_KEY="hunter22")
    assert line.startswith("GATEWAY_JWT_KEY=(hidden): a secret must have at least 32 bytes")
    environment.delenv("GATEWAY_JWT_KEY")
    (tmp_path / "key").write_text(private_pem(ED25519))
    line = complaint(environment, AUTH="jwt", JWT_KEY_FILE=str(tmp_path / "key"))
    assert line.startswith("GATEWAY_JWT_KEY=(hidden): must be a public key in PEM")
    assert private_pem(ED25519).splitlines()[1] not in line


def test_wrong_auth_is_the_only_line_however_the_key_is(environment: pytest.MonkeyPatch) -> None:
    assert complaint(environment, AUTH="yes", JWT_KEY="x").startswith("GATEWAY_AUTH=yes: ")


def test_key_may_come_from_a_file_and_shows_nowhere(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(public_pem(ED25519))
    found = read(environment, AUTH="JWT", JWT_KEY_FILE=str(tmp_path / "key"))
    assert found.gateway_jwt_key is not None
    assert found.gateway_jwt_key.get_secret_value() == public_pem(ED25519).strip()
    assert "BEGIN" not in f"{found!r} {found.model_dump()} {found.model_dump_json()}"


def test_gateway_without_tokens_does_not_load_what_reads_keys() -> None:
    program = (
        "import sys, services.gateway.service; from services.gateway.settings import GatewaySettings as S; "
        "services.gateway.service.Gateway(S(redis_url='redis://h', partitions=1)); print(*sys.modules)"
    )
    program = f"import asyncio\nasync def main():\n    {program}\nasyncio.run(main())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # redis-py asks whether the package is there, which costs nothing; its working parts are what takes memory.
    assert [name for name in ended.stdout.split() if name.startswith(("jwt", "cryptography.hazmat"))] == []
