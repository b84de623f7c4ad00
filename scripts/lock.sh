#!/usr/bin/env bash
# Resolves the dependencies of pyproject.toml into requirements/*.txt, with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(ls -d "${LUTHIER_CACHE:-$HOME/.cache/luthier}"/uv-*/bin/uv | tail -n 1)
for extra in dev operator trainer; do
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
    --python-version 3.11 --extra "$extra" pyproject.toml --output-file "requirements/$extra.txt" "$@"
done
