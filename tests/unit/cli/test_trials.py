"""The trials of a search, as people and programs see them; and its space, as `validate` does."""

from typing import Any

import pytest
from rich.console import Console
from unit.cli.statuses import resource

from luthier_cli import searches
from luthier_cli.errors import CliError
from luthier_cli.searchtable import counted, render
from luthier_cli.summary import summarize
from luthier_cli.trials import search_of
from luthier_cli.validate import validate
from luthier_cli.yaml import load_documents

MANIFEST = """\
apiVersion: luthier.dev/v1alpha1
kind: FineTuneJob
metadata: {name: tone}
spec:
  model: {uri: s3://models/smollm2}
  task: classification
  dataset: {uri: s3://d/a.jsonl, template: "{text}: {label}", evalFraction: 0.1}
  training: {maxSteps: 100}
  output: {uri: s3://artifacts/models}
  search:
    objective: {metric: eval_loss, direction: minimize}
    space:
      %s
"""
TRIALS = [
    {"number": 0, "state": "Complete", "value": 0.75, "step": 20, "seconds": 12.4,
     "settings": {"lora.rank": "8", "method.type": "lora"}},
    {"number": 1, "state": "Failed", "error": "LossNotFinite: \x1b[31mnan"},
    {"number": 2, "state": "Running", "step": 5, "settings": {"method.type": "ia3"}},
]  # fmt: skip
SEARCH = {"trials": 4, "complete": 1, "failed": 1, "running": 1, "best": TRIALS[0], "table": TRIALS}


def shown(search: dict[str, Any]) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(render(search))
    return capture.get()


def test_each_trial_is_a_line_with_its_settings() -> None:
    text = shown({"objective": {"metric": "accuracy"}, **SEARCH})
    lines = text.splitlines()
    assert lines[0].split() == [
        "Trial", "State", "accuracy", "Steps", "Seconds", "lora.rank", "method.type",
    ]  # fmt: skip
    assert lines[1].split() == ["0*", "Complete", "0.75", "20", "12", "8", "lora"]
    assert lines[3].split() == ["2", "Running", "5", "ia3"]
    assert "2 of 4 trials, 1 running, 1 failed, best 0.75 (trial 0); * is the best" in text
    assert "trial 1: LossNotFinite" in text
    assert "\x1b" not in text, "what a pod said acts on no terminal"


def test_a_search_that_has_not_begun_says_so() -> None:
    assert "no trial has begun yet" in shown({})
    assert counted({"trials": 4}) == "0 of 4 trials"


def test_a_run_that_does_not_search_is_told() -> None:
    with pytest.raises(CliError, match="doesn't search"):
        search_of(resource(), "tone")
    searching = resource(search=SEARCH) | {"spec": {"search": {"objective": {"metric": "f1"}}}}
    found = search_of(searching, "tone")
    assert found["objective"] == {"metric": "f1"}
    assert found["best"]["number"] == 0


def test_the_end_shows_the_trials() -> None:
    assert summarize(resource(search=SEARCH))["search"]["complete"] == 1


@pytest.mark.parametrize(
    ("space", "line", "words"),
    [
        ("lora.rank: {type: int, low: 8, high: 4096}", 12, "4096 is more than 1024"),
        ("optimizer: {type: choice, names: [sgd, lomo]}", 12, "lomo can't be used"),
        # By the API's own rules, asked of a trial's values.
        ("labelSmoothing: {type: choice, values: [0, 0.5]}", None, ""),
    ],
)
def test_validate_tells_of_values_that_no_trial_could_have(
    space: str, line: int | None, words: str
) -> None:
    report = validate([("a.yaml", MANIFEST % space)], lambda *_: [])
    if line is None:
        assert report.findings == []
        return
    (finding,) = report.findings
    assert finding.line == line
    assert finding.field.startswith("spec.search.space")
    assert words in finding.message


def test_the_rules_of_the_api_are_asked_of_each_corner() -> None:
    space = "virtualTokens.count: {type: int, low: 1, high: 9}"
    text = (MANIFEST % space).replace("training:", "method: {type: prompt}\n  training:")
    (document,) = load_documents(text.replace("maxSteps: 100", "maxSteps: 100, packing: Always"))
    (finding,) = searches.check(document, "a.yaml")
    assert "virtual tokens" in finding.message
