"""What the files of the deployment say, read once: Dockerfile, docker-compose.yml, lock files, deploy/."""

import re
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from ruamel.yaml import YAML

CHECKOUT = Path(__file__).parents[2]
LOCKS = CHECKOUT / "requirements" / "services"
IMAGES = sorted(lock.stem for lock in LOCKS.glob("*.txt"))
"""What ARG SERVICE may be."""


def read_yaml(name: str) -> Any:
    """The one document of a file, anchors and merges resolved."""
    return YAML(typ="safe", pure=True).load(CHECKOUT / name)


def locked(lock: Path) -> list[Requirement]:
    """The requirements of a lock file, with their markers, without hashes."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [Requirement(line.removesuffix("\\")) for line in lines if line and not line.startswith((" ", "#"))]


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile in their order, continued lines joined, comments left out."""
    text = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    found = re.findall(r"^([A-Z]+)\s+(.*)$", re.sub(r"\\\n\s*", "", text), re.MULTILINE)
    return [(name, arguments.strip()) for name, arguments in found]


COMPOSE = read_yaml("docker-compose.yml")
DOCKERFILE = instructions((CHECKOUT / "Dockerfile").read_text(encoding="utf-8"))
FINAL_STAGE = DOCKERFILE[max(index for index, (name, _) in enumerate(DOCKERFILE) if name == "FROM") :]

BUILT = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
"""The compose services that are built here, by name."""
SERVICES = sorted(set(BUILT) - {"migrate"})
"""Those that keep running, any number of each."""


def image_of(name: str) -> str:
    """The ARG SERVICE that a compose service is built with."""
    return str(BUILT[name]["build"]["args"]["SERVICE"])


def image_environment() -> dict[str, str]:
    """The variables that every image sets."""
    pairs = [pair for name, arguments in FINAL_STAGE if name == "ENV" for pair in arguments.split()]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
