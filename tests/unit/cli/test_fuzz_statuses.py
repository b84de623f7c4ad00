"""Statuses with any numbers and times, and without what another version leaves out: shown."""

from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.cli.statuses import bundled, complete, failed, optimized, optimizing, running
from unit.cli.test_foreign_text import acts, all_views

NUMBERS = (
    st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -1, 1e308, -1e308, 5e-324])
)
TIMES = st.sampled_from(["", "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "\x1b[2J"])
# What a condition, a candidate or an adapter always has.
NEEDED = (
    "type",
    "status",
    "reason",
    "precision",
    "format",
    "name",
    "uri",
    "step",
    "verdict",
    "low",
    "high",
)


def changed(node: Any, data: st.DataObject) -> Any:
    """Every number another one, every time another time; here and there a field less."""
    if isinstance(node, dict):
        return {
            key: changed(value, data)
            for key, value in node.items()
            if key in NEEDED or data.draw(st.integers(0, 9))
        }
    if isinstance(node, list):
        return [changed(item, data) for item in node]
    if isinstance(node, bool):
        return node
    if isinstance(node, int):
        return data.draw(st.integers(-(2**63), 2**63))
    if isinstance(node, float):
        return data.draw(NUMBERS)
    return data.draw(TIMES) if node.endswith("Z") else node


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([running, complete, failed, optimizing, optimized, bundled]),
    st.data(),
)
def test_any_numbers_and_times(make: Any, data: st.DataObject) -> None:
    body = deepcopy(make())
    status = body["status"]
    body["status"] = {
        **changed(status, data),
        "estimate": changed({"memoryBytes": 1, "durationSeconds": 1.5}, data),
        "usage": changed({"cpuSeconds": 80, "gpuSeconds": 1, "trainedTokens": 7}, data),
        "dataset": changed({"train": 1, "eval": 2, "tokensMedian": 3, "tokensP95": 4}, data),
    }
    for shown in all_views(body, "a note"):
        assert not acts(shown)
