#!/bin/sh
# Finds a Python >= 3.11 and lets it install the locked packages into .venv: sh scripts/install.sh run|dev|peers
set -eu

# Starting it is the test: a shim of a version manager exists on PATH although its Python does not.
suits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

makes_environments() {
    command -v uv >/dev/null 2>&1 || "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# The environment's own Python installs what is new, unless the environment has to be made again below its feet.
if [ ! -e .venv/.installing ] && suits .venv/bin/python; then
    exec .venv/bin/python scripts/install.py "$@"
fi

without_venv=
for python in "${PYTHON:-python3.13}" python3.13 python3.12 python3.11 python3.14 python3 python; do
    suits "$python" || continue
    if makes_environments "$python"; then
        exec "$python" scripts/install.py "$@"
    fi
    without_venv="${without_venv:-$python}"
done

if [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "Python $version ($without_venv) cannot make a virtual environment: its modules venv and ensurepip are missing." >&2
    echo "Debian, Ubuntu:  apt install python3-venv   (or python$version-venv)" >&2
else
    echo "No Python >= 3.11 was found on PATH." >&2
    echo "Debian 12, Ubuntu 24.04:  apt install python3 python3-venv" >&2
    echo "Fedora:  dnf install python3      macOS:  brew install python" >&2
fi
echo "Or name one: make run PYTHON=/path/to/python3" >&2
exit 2
