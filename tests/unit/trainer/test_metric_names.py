"""Every name that the trainer gives a value is one that the API lets through."""

from luthier_api.evaluation import is_metric
from luthier_trainer.evaluation.metrics import FAMILIES
from luthier_trainer.evaluation.script import PREFIX


def test_every_value_of_every_family_has_a_metrics_name() -> None:
    names = {name for family in FAMILIES for name in family.values}
    assert len(names) > 15
    assert {name for name in names if not is_metric(name)} == set()


def test_so_has_a_scripts_longest_name_and_nothing_longer() -> None:
    assert is_metric(PREFIX + "a" * 56)
    assert is_metric(PREFIX + "A.b@c-d_1")
    for name in (PREFIX, PREFIX + "a" * 57, PREFIX + 'x"} 1\n', "other", "f1\n", "F1"):
        assert not is_metric(name)
