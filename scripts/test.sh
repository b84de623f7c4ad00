#!/usr/bin/env bash
# All tests, in two halves: those that compute, then those on the full node, whose pods train.
# One after the other: two trainings at once on two cores are many times slower than in turn.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

.venv/bin/python -m pytest tests/unit tests/contract tests/integration
here=$?
[ $here -eq 2 ] && exit $here # interrupted
.venv/bin/python -m pytest tests/e2e
there=$?
exit $((here != 0 || there != 0))
