"""A spec or status is parsed once, for as long as it says the same."""

import copy
from typing import Any

import pytest
from unit.operator.builders import fine_tune_job, resource

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_operator.resources import Obj
from luthier_operator.run import observe, sources
from luthier_operator.run.memo import Memo, Once
from luthier_operator.run.sources import Taken


class Parser:
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, model: type[Any], part: Obj) -> tuple[type[Any], Obj]:
        self.asked += 1
        return model, part


def read(memo: Memo, parser: Parser, uid: str, part: Obj, model: type[Any] = str) -> Any:
    return memo.read(model, {"metadata": {"uid": uid}}, part, parser)


def test_the_same_is_made_once_and_anything_else_anew() -> None:
    memo, parser = Memo(10), Parser()
    spec = {"a": {"b": 1}}
    first = read(memo, parser, "u", spec)
    assert read(memo, parser, "u", spec) is first
    assert read(memo, parser, "u", copy.deepcopy(spec)) is first
    assert parser.asked == 1
    assert read(memo, parser, "u", {"a": {"b": 2}})[1] == {"a": {"b": 2}}
    assert read(memo, parser, "v", spec)[1] is spec
    assert read(memo, parser, "u", {"a": {"b": 2}}, int)[0] is int
    assert parser.asked == 4


def test_it_holds_no_more_than_it_may() -> None:
    memo, parser = Memo(3), Parser()
    for number in range(20):
        read(memo, parser, str(number), {})
        assert len(memo._known) <= 3


def test_what_is_followed_is_parsed_once_for_all_that_follow() -> None:
    source = fine_tune_job("much-followed", published=1)
    taken = [sources.source_of_job("team", "other", source, None) for _ in range(64)]
    specs = [it.spec for it in taken if isinstance(it, Taken)]
    assert len(specs) == 64
    assert specs[0] is not None
    assert all(it is specs[0] for it in specs)
    # Once it says something else, that is what they follow.
    newer = fine_tune_job("much-followed", published=2)
    now = sources.source_of_job("team", "other", newer, None)
    assert isinstance(now, Taken)
    assert now.ref.revision == "r2-00000002"


def test_a_spec_that_cannot_be_read_says_why_each_time() -> None:
    wrong = resource(task="juggling")
    first, second = (observe.parse_spec(FineTuneJobSpec, copy.deepcopy(wrong)) for _ in range(2))
    assert first == second
    assert first[0] is None
    assert first[1].startswith("spec.task: ")
    assert observe.parse_spec(FineTuneJobSpec, resource())[0] is not None


def test_what_is_made_of_models_is_made_once_for_each_of_them_and_name() -> None:
    once: Once[list[str]] = Once(2)
    models = [object(), object()]
    first = once.of(models[0], names=("team",), make=list)
    assert once.of(models[0], names=("team",), make=list) is first
    assert once.of(models[0], names=("other",), make=list) is not first
    once.of(models[1], names=("team",), make=list)
    assert once.of(models[0], names=("team",), make=list) is not first, "it has begun anew"

    def fail() -> list[str]:
        raise LookupError

    model = object()
    with pytest.raises(LookupError):
        once.of(model, make=fail)
    assert once.of(model, make=list) == []
