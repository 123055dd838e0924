"""Dockerfile, docker-compose.yml, Prometheus and the code say the same; no container engine is needed to see it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from services.admin.migrate import MigrateSettings
from services.analyzer.settings import AnalyzerSettings
from services.api.settings import ApiSettings
from services.fetcher.settings import FetcherSettings
from services.gateway.settings import GatewaySettings
from services.persister.settings import PersisterSettings
from shared.settings import NOT_AVAILABLE, SECRETS, Settings
from tests.architecture.deployment import (
    BUILT,
    CHECKOUT,
    COMPOSE,
    DOCKERFILE,
    FINAL_STAGE,
    IMAGES,
    LOCKS,
    SERVICES,
    image_environment,
    image_of,
    locked,
    read_yaml,
)

SETTINGS: dict[str, type[Settings]] = {
    "admin": MigrateSettings,
    "analyzer": AnalyzerSettings,
    "api": ApiSettings,
    "fetcher": FetcherSettings,
    "gateway": GatewaySettings,
    "persister": PersisterSettings,
}


def final(instruction: str) -> str:
    """The arguments of the last such instruction of the final stage."""
    return [arguments for name, arguments in FINAL_STAGE if name == instruction][-1]


def known(model: type[Settings]) -> set[str]:
    """The variables that a service's settings read, or will."""
    names = {name.upper() for name in model.model_fields} | set(NOT_AVAILABLE)
    return names | {f"{name}_FILE" for name in SECRETS if name in names}


def test_every_image_has_a_package_and_settings() -> None:
    assert sorted(SETTINGS) == IMAGES
    assert [image for image in IMAGES if not (CHECKOUT / "services" / image / "__main__.py").is_file()] == []


def test_compose_builds_every_image() -> None:
    assert sorted(image_of(name) for name in BUILT) == IMAGES
    assert [name for name in SERVICES if image_of(name) != name] == []


@pytest.mark.parametrize("image", IMAGES)
def test_image_has_the_versions_that_are_tested(image: str) -> None:
    tested = {str(requirement) for requirement in locked(CHECKOUT / "requirements" / "dev.txt")}
    assert {str(requirement) for requirement in locked(LOCKS / f"{image}.txt")} - tested == set()


@pytest.mark.parametrize("image", IMAGES)
def test_every_file_of_an_image_is_known_by_its_hash_and_no_index_is_named(image: str) -> None:
    text = (LOCKS / f"{image}.txt").read_text(encoding="utf-8")
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?! )", text.strip()))
    assert "://" not in text


@pytest.mark.parametrize("name", BUILT)
def test_compose_passes_only_variables_that_the_service_knows(name: str) -> None:
    assert set(BUILT[name]["environment"]) - known(SETTINGS[image_of(name)]) == set()


@pytest.mark.parametrize("name", read_yaml("deploy/compose.secrets.yml")["services"])
def test_secrets_come_as_files_that_the_service_is_given(name: str) -> None:
    secrets = read_yaml("deploy/compose.secrets.yml")
    service = secrets["services"][name]
    for variable, path in service["environment"].items():
        if name in BUILT:
            assert variable in known(SETTINGS[image_of(name)])
        assert not path or path.removeprefix("/run/secrets/") in service["secrets"]
        # Both forms of a secret are refused: the one of docker-compose.yml has to go.
        assert variable.endswith("_FILE") or path == ""
    assert set(service["secrets"]) <= set(secrets["secrets"])


def test_every_variable_of_the_image_is_known_to_some_service() -> None:
    everything = set().union(*(known(model) for model in SETTINGS.values()))
    assert {name for name in image_environment() if not name.startswith(("PYTHON", "PATH"))} - everything == set()


@pytest.mark.parametrize("name", SERVICES)
def test_any_number_of_a_service_can_run(name: str) -> None:
    assert "container_name" not in BUILT[name]
    for port in BUILT[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):\d+", port), "one host port serves one replica only"


def test_ports_are_those_of_the_settings() -> None:
    environment = image_environment()
    for service, model in (("gateway", GatewaySettings), ("api", ApiSettings)):
        port = str(model.model_fields[f"{service}_port"].default)
        assert environment[f"{service.upper()}_PORT"] == port
        assert [published.rsplit(":", 1)[1] for published in BUILT[service]["ports"]] == [port]
    assert final("EXPOSE").split() == [environment[f"{name}_PORT"] for name in ("METRICS", "GATEWAY", "API")]


def test_services_listen_where_other_containers_reach_them() -> None:
    assert {name: value for name, value in image_environment().items() if name.endswith("_HOST")} == {
        "API_HOST": "0.0.0.0",
        "GATEWAY_HOST": "0.0.0.0",
        "METRICS_HOST": "0.0.0.0",
    }


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_images_run_as_a_number_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final("USER"))


def test_process_1_is_started_without_a_shell_of_the_engine() -> None:
    assert json.loads(final("ENTRYPOINT")) == ["/venv/bin/service"]
    assert final("STOPSIGNAL") == "SIGTERM"


def test_labels_tell_the_version_of_the_project() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ("ARG", f"VERSION={project['version']}") in FINAL_STAGE
    assert f'description="{project["description"]}"' in final("LABEL")


def test_build_context_holds_everything_that_is_copied_and_little_else() -> None:
    text = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = tuple(line.removeprefix("!") for line in lines if line.startswith("!"))
    copied = [arguments.split()[0] for name, arguments in DOCKERFILE if name == "COPY" and "--from" not in arguments]
    mounted = re.findall(r"type=bind,source=([^,\s]+)", str(DOCKERFILE))
    assert [path for path in copied + mounted if not path.startswith(allowed)] == []


def test_every_variable_of_the_users_own_index_reaches_pip_and_no_image() -> None:
    declared = {arguments for name, arguments in DOCKERFILE if name == "ARG" and arguments.startswith("PIP_")}
    assert all(set(service["build"]["args"]) - {"SERVICE"} == declared for service in BUILT.values())
    assert "PIP_" not in str(FINAL_STAGE)


def test_prometheus_scrapes_every_service() -> None:
    scraped = read_yaml("deploy/prometheus/prometheus.yml")["scrape_configs"]
    lookups = [lookup for job in scraped for lookup in job.get("dns_sd_configs", [])]
    assert sorted(name for lookup in lookups for name in lookup["names"]) == SERVICES
    assert {(lookup["type"], str(lookup["port"])) for lookup in lookups} == {("A", image_environment()["METRICS_PORT"])}


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A port where every request is answered with `status`, but for those to other paths than /healthz."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
def test_health_check_follows_the_answer_even_where_a_proxy_is_set(status: int, exit_code: int) -> None:
    command = json.loads(final("HEALTHCHECK").partition("CMD")[2])
    with answering(status) as port:
        environment = {**os.environ, "METRICS_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
        ended = subprocess.run([sys.executable, *command[1:]], env=environment, check=False, timeout=30)
    assert (command[0], ended.returncode) == ("python", exit_code)
