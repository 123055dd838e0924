#!/bin/sh
# Compiles pyproject.toml into the hashed lock files, without the address of any index.
set -eu

if ! command -v uv >/dev/null 2>&1; then
    echo "make lock needs uv on PATH (pip install uv)" >&2
    exit 2
fi

compile() {
    uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
        --no-annotate --no-header "$@"
}

compile pyproject.toml --extra fetcher --extra analyzer --extra persister --extra gateway --extra api --extra admin --extra embedded \
    -o requirements/run.txt
# The same versions for tests and images as for users: the first file constrains the others.
compile pyproject.toml --all-extras --group dev -c requirements/run.txt -o requirements/dev.txt
mkdir -p requirements/services
for service in fetcher analyzer persister gateway api admin; do
    compile pyproject.toml --extra "$service" -c requirements/run.txt -o "requirements/services/$service.txt"
done
compile requirements/bokeh.in --no-deps -o requirements/bokeh.txt
compile requirements/node.in --no-deps -o requirements/node.txt
# Whom `make bench` compares with: the versions that are ours, too, where both have the package.
compile benchmarks/peers/requirements.in -c requirements/run.txt -o benchmarks/peers/requirements.txt
