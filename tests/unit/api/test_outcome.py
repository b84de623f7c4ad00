"""What came of a run, in a few words."""

import pytest

from luthier_api.adapterbundle import BundledRevision, BundleProof
from luthier_api.finetunejob import EvaluationResult
from luthier_api.optimizejob import Candidate
from luthier_api.outcome import MOST, of_bundle, of_model, of_package


@pytest.mark.parametrize(
    ("base", "tuned", "first", "words"),
    [
        ({"accuracy": 0.4123}, {"accuracy": 0.8765}, [], "accuracy 0.412→0.876"),
        ({"loss": 3.1, "f1": 0.2}, {"loss": 1.2, "f1": 0.5}, [], "f1 0.2→0.5"),
        ({"loss": 3.1, "f1": 0.2}, {"loss": 1.2, "f1": 0.5}, ["loss"], "loss 3.1→1.2"),
        ({"f1": 0.2}, {"f1": 0.5, "accuracy": 0.7}, ["bleu", "accuracy"], "accuracy 0.7"),
        ({"loss": 3.0}, {"loss": 1.25}, [], "loss 3→1.25"),
        ({}, {"loss": 12345.678}, [], "loss 1.23e+04"),
        ({"f1": 0.1}, {}, [], None),
    ],
)
def test_of_a_model(
    base: dict[str, float], tuned: dict[str, float], first: list[str], words: str | None
) -> None:
    assert of_model(EvaluationResult(base=base, tuned=tuned), first) == words


def test_nothing_is_said_before_there_is_anything() -> None:
    assert of_model(None, ["f1"]) is None
    assert of_package([Candidate(precision="int8", size_bytes=5)]) is None
    assert of_bundle([], None) is None


def test_a_long_name_keeps_the_bound() -> None:
    name = "script_" + "x" * 56
    found = of_model(EvaluationResult(base={name: 1}, tuned={name: 2}), [])
    assert found is not None
    assert len(found) == MOST
    assert found.endswith(" 1→2")


def test_of_a_package() -> None:
    chosen = Candidate(
        precision="int8", size_bytes=157_278_036, tokens_per_second=52.345, verdict="Chosen"
    )
    assert of_package([Candidate(precision="int4"), chosen]) == "int8 150.0 MiB 52.3 tokens/s"
    bare = chosen.model_copy(update={"tokens_per_second": None, "size_bytes": None})
    assert of_package([bare]) == "int8"


def test_of_a_bundle() -> None:
    adapters = [
        BundledRevision(name="a", state="Included"),
        BundledRevision(name="b", state="LeftOut"),
    ]
    proof = BundleProof(adapters=1, size_bytes=2**28)
    assert of_bundle(adapters, proof) == "1 adapter 256.0 MiB, 1 left out"
    assert of_bundle(adapters[:1], BundleProof(adapters=2)) == "2 adapters"
