"""Replicas that are killed at random, for minutes, while runs come and go."""

import pytest
from bench.scale import chaos
from bench.scale.fleet import fleet
from clusters import own

RUNS = 150
MINUTES = 5.0


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_nothing_is_made_twice_or_lost() -> None:
    # Pods that last: kills have to hit runs in their middle.
    with fleet(seconds=20.0, name=own("chaos")) as found:
        told = chaos.measure(found, RUNS, MINUTES, replicas=2)
    assert told.kills > MINUTES * 60 / (chaos.PAUSES[1] + 5)
    assert (told.double, told.lost, told.stuck) == ([], [], [])
    assert told.complete == RUNS
