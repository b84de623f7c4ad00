"""Templates, split expressions and labels of any text."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from unit.trainer.data_support import outcome

from luthier_api.dataset import SplitExpression, Template
from luthier_api.result import RunError
from luthier_trainer.data.labels import reads_as, twins
from luthier_trainer.data.splits import select
from luthier_trainer.data.template import Template as Parsed
from luthier_trainer.data.template import parse_template

bounded = settings(max_examples=100, deadline=None, database=None)

_TEMPLATE = TypeAdapter(Template)
_SPLIT = TypeAdapter(SplitExpression)
printed = st.characters(exclude_categories=["Cs", "Cc"])


def _accepted(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


@bounded
@given(st.text(st.sampled_from("{}\\ab 0\"'\n!:é") | printed, min_size=1, max_size=20))
def test_the_api_and_the_trainer_read_one_grammar(template: str) -> None:
    found = outcome(lambda: parse_template(template))
    assert _accepted(_TEMPLATE, template) is not isinstance(found, RunError)
    assert isinstance(found, Parsed) or found.code == "TemplateInvalid"


@bounded
@given(st.lists(st.tuples(st.text(printed, max_size=8), st.text(printed, min_size=1, max_size=8)),
                min_size=1, max_size=4))  # fmt: skip
def test_what_is_escaped_is_read_as_it_was(parts: list[tuple[str, str]]) -> None:
    """A backslash may stand before each sign of a column's name."""
    template = "".join(
        text.replace("{", "{{").replace("}", "}}")
        + "{"
        + "".join(f"\\{sign}" for sign in column)
        + "}"
        for text, column in parts
    )
    parsed = parse_template(template)
    assert parsed.columns == tuple(column for _, column in parts)
    assert parsed.literals == (*(text.replace("\\n", "\n") for text, _ in parts), "")
    assert _accepted(_TEMPLATE, template)


bounds = st.none() | st.integers(-120, 120).map(str) | st.integers(-100, 100).map("{}%".format)


@bounded
@given(bounds, bounds, st.integers(0, 100))
def test_a_slice_is_python_s(start: str | None, stop: str | None, count: int) -> None:
    expression = f"train[{start or ''}:{stop or ''}]"

    def number(bound: str | None) -> int | None:
        if bound is None:
            return None
        return round(int(bound[:-1]) * count / 100) if bound.endswith("%") else int(bound)

    expected = list(range(7, 7 + count)[number(start) : number(stop)])
    found = outcome(lambda: select(expression, {"train": range(7, 7 + count)}, "dataset.train"))
    if expected:
        assert list(found) == expected
    else:
        assert found.code == "EmptySplit"


@bounded
@given(st.text(st.sampled_from("train[]:%-09") | printed, max_size=20))
def test_any_text_is_a_split_or_refused(expression: str) -> None:
    found = outcome(lambda: select(expression, {"train": range(10)}, "dataset.test"))
    if isinstance(found, RunError):
        assert found.code in ("InvalidSplit", "UnknownSplit", "EmptySplit")
        assert not (found.code == "InvalidSplit" and _accepted(_SPLIT, expression))
    else:
        assert found


@bounded
@given(st.text(max_size=20), st.text(max_size=20))
def test_labels_of_any_text_are_compared(one: str, other: str) -> None:
    assume(one != other)
    alike = reads_as(one) == reads_as(other)
    assert twins([one, other]) == ([sorted([one, other])] if alike else [])
    assert twins([one, f" {one}\n"]) == [sorted([one, f" {one}\n"])]
