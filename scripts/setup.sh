#!/usr/bin/env bash
# Makes .venv with everything that the demo and the tests need. Does nothing when it is up to date;
# can be interrupted and repeated. Downloads are cached by uv and by LUTHIER_CACHE.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
cache=${LUTHIER_CACHE:-$HOME/.cache/luthier}
python=${PYTHON:-python3}

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
fail() { printf '[setup] %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "no $python: install Python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$python is $("$python" --version): Luthier needs Python 3.11 or newer; set PYTHON"

# What the environment depends on; of pyproject.toml, what comes before the linters' settings.
wanted=$(
  {
    "$python" -c 'import sys, sysconfig; print(sys.version, sysconfig.get_platform())'
    cat requirements/dev.txt scripts/setup.sh
    sed '/^\[tool\.ruff\]/,$d' pyproject.toml
  } | sha256sum | cut -c1-16
)
stamp=.venv/.luthier-setup
[ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && exit 0

started=$SECONDS
uv=$cache/uv-$UV_VERSION/bin/uv
if [ ! -x "$uv" ]; then
  say "uv $UV_VERSION"
  "$python" -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y python3-venv; }
  "$python" -m venv "$cache/uv-$UV_VERSION"
  "$cache/uv-$UV_VERSION/bin/pip" install --quiet "uv==$UV_VERSION"
fi

export UV_PYTHON_DOWNLOADS=never
say "Python packages into .venv (minutes when nothing is cached, half a minute otherwise)"
rm -f "$stamp"
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$(command -v "$python")" .venv
quiet=()
[ -t 2 ] || quiet=(--quiet) # a list of 150 packages helps nobody in a log
"$uv" pip sync "${quiet[@]}" --python .venv/bin/python --require-hashes --compile-bytecode requirements/dev.txt
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
echo "$wanted" >"$stamp"
say "ready after $((SECONDS - started)) s"
