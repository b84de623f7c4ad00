"""What others wrote stands in cards and READMEs as text: it is no Markdown and no HTML there."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from unit.trainer.bundle_index import PART, index
from unit.trainer.optimize_support import order_maker
from unit.trainer.support import MakeSpec
from unit.trainer.test_report import EVALUATION, facts

from luthier_api.optimizejob import Candidate
from luthier_trainer.bundle.readme import readme
from luthier_trainer.optimize.howto import explain
from luthier_trainer.pages.finetunecard import card
from luthier_trainer.pages.markdown import code, fenced, front_matter, inline, row
from luthier_trainer.pages.optimizecard import card as optimized_card
from luthier_trainer.pages.summary import Summary, Tried
from luthier_trainer.published.ask import Ask, Row, Stop

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=y> | ` `` ``` [a](javascript:b) ![c](http://d) "
    "<http://e.f> &lt; *g* __h__ ~~i~~ \\| \\` <!-- j\n\n# k\n- l\n> m\n```\n</code>\n| n | o |\n"
)
NOT_TEXT = {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "s_open"}


def tokens(text: str) -> list[Token]:
    found = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    return [each for token in found for each in (token, *(token.children or ()))]


def text_of(markdown: str) -> str:
    return "".join(
        each.content for each in tokens(markdown) if each.type in ("text", "text_special")
    )


TEXTS = st.text(max_size=60) | st.text(alphabet="ab `*_|<>[]()!\\#~-+1.=&;\n", max_size=40)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_any_text_in_a_line_a_cell_and_a_block(text: str) -> None:
    plain = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    assert text_of(f"{inline(text)}") == plain
    assert not NOT_TEXT & {each.type for each in tokens(f"so: {inline(text)}")}
    cells = row(["a", inline(text), code(text)])
    table = tokens(f"| a | b | c |\n|---|---|---|\n{cells}\n")
    assert sum(each.type == "td_open" for each in table) == 3
    assert not NOT_TEXT & {each.type for each in table}
    blocks = [each for each in tokens(fenced(text, "text")) if each.type == "fence"]
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    assert [each.content for each in blocks] == [f"{shown}\n"]
    (span,) = [each for each in tokens(f"so {code(text)}") if each.type == "code_inline"]
    assert span.content.strip() == plain.strip()


def test_lines_are_cut() -> None:
    assert inline("a" * 9_000) == "a" * 400 + "…"
    assert len(fenced("a" * 90_000)) < 7_000


def test_front_matter_is_yaml_whatever_is_in_it() -> None:
    fields = {"base_model": HOSTILE, "tags": ["a: b", "- c", "---"], "library_name": "x\n---\ny"}
    text = front_matter(fields)
    assert yaml.safe_load(text.removeprefix("---\n").removesuffix("---")) == fields
    assert re.findall(r"^---$", text, re.MULTILINE) == ["---"] * 2


ASK = Ask(
    form="template",
    auto_class="AutoModelForCausalLM",
    template=f"{HOSTILE}{{x}}{HOSTILE}{{y}}",
    columns=[HOSTILE],
    answer_column=HOSTILE,
    choices=[HOSTILE, "b"],
    stop=[Stop(id=2, text=HOSTILE)],
    row=Row(prompt=HOSTILE, answer=HOSTILE, expected=f"no{HOSTILE}"),
)


def inert(text: str) -> None:
    body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    found = tokens(body)
    assert not NOT_TEXT & {each.type for each in found}
    headings = [each.content for each in found if each.type == "inline" and each.level == 1]
    assert not any(heading.strip() in ("k", "m") for heading in headings)
    for each in found:
        if each.type == "fence" and each.info == "python":
            compile(each.content, "program", "exec")
            assert "alert(1)" not in re.sub(r"'(?:\\.|[^'\\])*'", "", each.content)


def test_the_card_of_a_run(make_spec: MakeSpec) -> None:
    hostile = facts(
        ask=ASK,
        licence=HOSTILE,
        labels=(HOSTILE, "b"),
        warnings=(HOSTILE,),
        summary=HOSTILE,
        commit=HOSTILE,
        resolved={HOSTILE: HOSTILE},
    )
    text = card(make_spec(), EVALUATION, hostile)
    inert(text)
    assert "alert(1)" in text


@pytest.mark.parametrize("format_", ["genai", "onnx"])
def test_the_card_of_a_package(format_: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    order = order_maker(tmp_path, tmp_path)(gates={"metric": "accuracy", "maxMetricDrop": 0.5})
    tried = Tried(Candidate(precision="int8", reason=HOSTILE))
    summary = Summary(
        order=order,
        baseline=Candidate(precision="fp32"),
        timings=(),
        seconds=0.0,
        tried=[tried],
        chosen="int8",
        format=format_,
        options={"int8": {"a|b": HOSTILE}},
        machine=HOSTILE,
        rows=3,
        split=HOSTILE,
        licence=HOSTILE,
        ask=ASK,
    )
    package = tmp_path / "model"
    package.mkdir()
    (package / "genai_config.json").write_text(
        '{"model": {"context_length": 9, "decoder": {"sliding_window": {"window_size": 7}}}}'
    )
    (package / "luthier.json").write_text(
        '{"autoClass": "AutoModelForSequenceClassification", "precision": "int8", "labels": ["a"],'
        ' "tokens": {"pad": 0}, "graphs": {}}'
    )
    inert(optimized_card(summary, explain(package, summary)))
    if format_ == "onnx":
        inert((package / "README.md").read_text())


def test_the_readme_of_a_bundle() -> None:
    part = {**PART, "target_modules": [HOSTILE], "ask": ASK}
    out = {"name": "b", "source": {"uri": "s3://b/b"}, "code": "Dora", "message": HOSTILE}
    found = index(part, HOSTILE, left_out=[out])
    text = readme("team/bundle", found, {"model": {"context_length": 9, "decoder": {}}})
    inert(text)
    assert text.count("alert(1)") > 8
