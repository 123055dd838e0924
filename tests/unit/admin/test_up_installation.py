"""What `make` does on a fresh machine: which Python it takes, what it says when there is none, and when it installs again."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What installing needs of a checkout, below a directory with a blank in its name."""
    made = tmp_path / "check out"
    made.mkdir()
    shutil.copy(CHECKOUT / "Makefile", made)
    for name in ("scripts", "requirements"):
        shutil.copytree(CHECKOUT / name, made / name)
    return made


def install(checkout: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run the script of `make install` with nothing but `path` on PATH."""
    command = ["/bin/sh", "scripts/install.sh", "run"]
    return subprocess.run(command, cwd=checkout, env={"PATH": str(path)}, capture_output=True, text=True, timeout=60, check=False)


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_without_python_it_says_what_to_install(checkout: Path) -> None:
    result = install(checkout, checkout)
    assert result.returncode == 2
    assert "No Python >= 3.11 was found on PATH" in result.stderr
    assert "apt install python3 python3-venv" in result.stderr


def test_shim_whose_python_does_not_exist_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    program(
        tmp_path / "bin" / "python3.12", f"""case "$*" in *install.py*) echo "took 3.12"; exit 0;; esac; exec "{sys.executable}" "$@" """
    )
    assert install(checkout, tmp_path / "bin").stdout == "took 3.12\n"


def test_too_old_python_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3", "exit 1")
    assert "No Python >= 3.11" in install(checkout, tmp_path / "bin").stderr


def test_python_without_venv_names_the_package(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3", f"""case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@" """)
    result = install(checkout, tmp_path / "bin")
    assert result.returncode == 2
    assert "apt install python3-venv" in result.stderr
    assert not (checkout / ".venv").exists()


def is_current(checkout: Path) -> bool:
    code = "import install, sys; sys.exit(not install.is_current('run'))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=checkout, env={"PYTHONPATH": "scripts"}, timeout=60, check=False).returncode == 0


@pytest.fixture
def installed(checkout: Path) -> Path:
    (checkout / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".install"):
            (checkout / ".venv" / entry.name).symlink_to(entry)
    code = "import install; install.stamp('run').write_text(install.digest('run'))"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, env={"PYTHONPATH": "scripts"}, timeout=60, check=True)
    return checkout


def test_complete_installation_is_not_repeated(installed: Path, tmp_path: Path) -> None:
    assert is_current(installed)
    result = install(installed, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_changed_lock_file_is_noticed(installed: Path) -> None:
    with (installed / "requirements" / "run.txt").open("a") as lock:
        lock.write("# changed\n")
    assert not is_current(installed)


def test_interrupted_installation_is_not_trusted(installed: Path) -> None:
    (installed / ".venv" / ".installing").touch()
    assert not is_current(installed)


def test_environment_whose_python_is_gone_is_not_trusted(installed: Path) -> None:
    (installed / ".venv" / "bin").unlink()
    assert not is_current(installed)


def pins(name: str) -> set[str]:
    return set(re.findall(r"^[a-z0-9._-]+==\S+", (CHECKOUT / "requirements" / name).read_text(), re.MULTILINE))


def test_tests_run_with_the_versions_that_users_get() -> None:
    assert pins("run.txt")
    assert pins("run.txt") <= pins("dev.txt")


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "bokeh.txt"])
def test_lock_files_name_no_index_and_hash_everything(name: str) -> None:
    text = (CHECKOUT / "requirements" / name).read_text()
    assert "://" not in text
    assert len(pins(name)) == len(re.findall(r"^\S.*\\\n +--hash=sha256:", text, re.MULTILINE))
