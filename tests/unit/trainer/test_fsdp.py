"""A model that is shared out among the processes that train it: by gloo, on one machine."""

from pathlib import Path

import pytest
from unit.trainer.support import MakeSpec
from unit.trainer.test_distributed import STILL, Pods, losses_by_step, pods  # noqa: F401 - a fixture

FULL = {"method": {"type": "full"}}
LORA = {"lora": STILL}
SETTINGS = {"maxSteps": 12, "gradientAccumulationSteps": 2, "perDeviceBatchSize": 3}


@pytest.mark.parametrize("method", [FULL, LORA], ids=["full", "lora"])
def test_two_with_a_half_each_learn_what_one_learns(
    method: dict, pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    training = {**SETTINGS, "evalEverySteps": 4, "learningRate": 1e-3}
    more = {**training, "gradientAccumulationSteps": 4}
    told = {"dataset": {"evalFraction": 0.2}, "metrics": ["accuracy", "loss"], **method}
    alone = make_spec(output=f"file://{tmp_path}/one", training=more, **told)
    both = make_spec(
        output=f"file://{tmp_path}/two", training={**training, "parallel": "fsdp"}, **told
    )
    one, two = pods.succeed(alone, 1), pods.succeed(both)
    assert losses_by_step(both) == pytest.approx(losses_by_step(alone), rel=1e-5)
    assert two["evaluation"]["tuned"] == pytest.approx(one["evaluation"]["tuned"], rel=1e-4)
    assert two["evaluation"]["base"] == pytest.approx(one["evaluation"]["base"], rel=1e-4)
