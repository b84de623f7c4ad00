#!/usr/bin/env bash
# Resolves the dependencies of pyproject.toml into requirements/*.txt, with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
for uv in "${LUTHIER_CACHE:-$HOME/.cache/luthier}"/uv-*/bin/uv; do :; done # the newest
lock() {
  local extra=$1
  shift
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
    --no-annotate --python-version 3.11 --extra "$extra" "$@" pyproject.toml \
    --output-file "requirements/$extra.txt"
}
lock dev "$@"
# The images get the versions that the tests ran with.
lock operator --constraint requirements/dev.txt
lock trainer --constraint requirements/dev.txt
# Environments of their own.
lock_apart() {
  local name=$1
  shift
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
    --no-annotate --python-version 3.11 "$@" "requirements/$name.in" \
    --output-file "requirements/$name.txt"
}
lock_apart mlflow --overrides requirements/mlflow.without
lock_apart wandb
