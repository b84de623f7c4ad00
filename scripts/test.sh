#!/usr/bin/env bash
# All tests in two halves side by side: those on the full node, whose pods start, load and wait,
# and those that compute. The second half's progress shows first, then the node's from its start.
set -uo pipefail
set -m # so that an interrupt of ours reaches the node's half, which then takes its node down
cd "$(dirname "$0")/.." || exit

log=$(mktemp -t luthier-e2e.XXXXXX)
.venv/bin/python -m pytest tests/e2e >"$log" 2>&1 &
node=$!
trap 'kill -INT $node 2>/dev/null' EXIT

.venv/bin/python -m pytest tests/unit tests/contract tests/integration
here=$?
[ $here -eq 2 ] && kill -INT $node # interrupted

echo "=== tests on the full node ($log) ==="
tail --pid=$node --lines=+1 --follow "$log"
wait $node
there=$?
trap - EXIT
exit $((here != 0 || there != 0))
