"""The version of this program."""

from importlib import metadata
from pathlib import Path


def version() -> str:
    """Of the installed distribution, or of the checkout that this file lies in."""
    try:
        return metadata.version("tickstream")
    except metadata.PackageNotFoundError:
        import tomllib

        project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])
