"""The page and the model card of a run."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from unit.trainer.support import MakeSpec

from luthier_api.finetunejob import Change, Estimate, EvaluationResult
from luthier_api.progress import Machine
from luthier_trainer.evaluation.compare import Comparison
from luthier_trainer.finetune.report import write_report
from luthier_trainer.pages.axis import ticks, within
from luthier_trainer.pages.curve import figure
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.finetune import page
from luthier_trainer.pages.finetunecard import card
from luthier_trainer.pages.numbers import changed, duration, measured, number
from luthier_trainer.pages.snippet import fetching, snippet
from luthier_trainer.storage.uri import encoded
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.monitor import entries

EVALUATION = EvaluationResult(
    split="test",
    examples=30,
    base={"accuracy": 0.39},
    tuned={"accuracy": 0.87, "script_cost": 3.0},
    change={"accuracy": Change(by=0.48, low=0.41, high=0.55)},
)


def facts(**changes: object) -> Facts:
    known = {
        "base_digest": "sha256:aa",
        "dataset_digest": "sha256:bb",
        "summary": "42 train rows",
        "steps": 24,
        "artifact": "adapter",
        "auto_class": "AutoModelForCausalLM",
        "best_step": 18,
        "resolved": {"precision": "bf16"},
        "warnings": ("the loss on eval rose <from 1>",),
        "estimate": Estimate(
            memory_bytes=2_000_000_000,
            duration_seconds=150,
            measured_memory_bytes=1_900_000_000,
            measured_duration_seconds=45.25,
        ),
    }
    return Facts(**{**known, **changes})  # type: ignore[arg-type]


def journal() -> Journal:
    found = Journal()
    for step in range(1, 25):
        found.add(
            step, {"loss": 3 / step, "learning_rate": 0.01, "grad_norm": 1.0, "seconds": step}
        )
        if step % 6 == 0:
            found.add(step, {"eval_loss": 4 / step, "seconds": step})
    return found


class Checked(HTMLParser):
    """Every element is closed, and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "style", "onclick"), value
            if name == "href":
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_tells_all_and_needs_nothing(make_spec: MakeSpec, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "data.html").write_text("")
    comparison = Comparison(EVALUATION, {"classes": {}})
    write_report(tmp_path, make_spec(), journal(), comparison, [], facts())
    assert json.loads((report / "evaluation.json").read_text()) == {"classes": {}}
    text = (report / "index.html").read_text()
    checked = Checked()
    checked.feed(text)
    assert checked.open == []
    assert checked.links == ["data.html", "evaluation.json", "metrics.jsonl"]
    assert "://" not in re.sub(r"file://\S+", "", text)
    assert "<script" not in text
    for told in ("team-a/colours", "0.39", "0.87", "+0.41 to +0.55", "bf16"):
        assert told in text, told
    for told in ("1.9 GB", "2.5 min", "45.2 s"):  # memory and time: measured beside expected
        assert f"<td>{told}</td>" in text, told
    assert "rose &lt;from 1&gt;" in text
    assert text.count("<svg") == 3  # what was never measured has no curve
    assert text.count("<polyline") == 4
    assert "prefers-color-scheme: dark" in text
    assert (report / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_every_series_of_the_journal_has_a_curve(make_spec: MakeSpec) -> None:
    full, trained = Journal(), entries(Machine(gpu_percent=90, gpu_memory_bytes=2**33))
    rates = {"tokens_per_second": 900.0, "samples_per_second": 9.0}
    trained |= {"cpu_percent": 1600.0, "data_wait_percent": 2.0, **rates}
    for entry in journal().entries:
        evaluated = {"eval_f1": 0.5, "eval_new": 1.0} if "eval_loss" in entry else trained
        full.add(entry["step"], {**entry, **evaluated, "epoch": entry["step"] / 8})
    text = page(make_spec(), full, None, facts())
    titles = [
        "loss",
        "eval_f1",
        "eval_new",
        "learning rate",
        "norm of the gradient",
        "tokens per second",
        "samples per second",
        "time waiting for data",
        "CPU busy (100% is one CPU)",
        "GPU busy",
        "memory in use on the GPU",
        "peak memory of the training",
    ]
    assert re.findall(r'<svg [^>]*aria-label="([^"]+)"', text) == titles
    positions = {"step", "epoch", "seconds"}
    assert text.count("<polyline") == len(set(full.names()) - positions) == len(titles) + 1


def test_a_curve_stays_in_its_frame() -> None:
    drawn = figure("loss", [("loss", [1, 2, 3], [5.0, -1.0, 2.0])])
    places = re.findall(r'points="([^"]+)"', drawn)[0].split()
    for place in places:
        x, y = map(float, place.split(","))
        assert 0 <= x <= 420
        assert 0 <= y <= 220
    assert figure("loss", [("loss", [], [])]) == ""
    assert "<svg" in figure("one point", [("loss", [1], [0.0])])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.001, "", "0.001"),
        (5234, "", "5.23k"),
        (12345, "", "12.3k"),
        (999_960, "", "1M"),
        (1.5e6, "", "1.5M"),
        (2e9, "B", "2 GB"),
        (-3e9, "B", "-3 GB"),
        (12, "B", "12 B"),
        (37.5, "%", "37.5%"),
        (1600, "%", "1,600%"),
    ],
)
def test_numbers_for_people(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_durations_for_people() -> None:
    found = [duration(seconds) for seconds in (0.25, 45.34, 119, 120, 7200, 388_800)]
    assert found == ["0.25 s", "45.3 s", "119 s", "2 min", "2 h", "4.5 days"]


def test_metrics_for_people() -> None:
    found = [measured(value) for value in (0.871234, 3.0, 21440.3, -1234567.0, 0.0, 3e12, None)]
    assert found == ["0.8712", "3", "21,440", "-1,234,567", "0", "3e+12", ""]
    assert changed(Change(by=0.48, low=-0.01, high=12345)) == ("+0.48", "-0.01 to +12,345")
    assert changed(Change(by=0, low=0, high=0)) == ("0", "0 to 0")
    assert changed(None) == ("", "")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 7.73, [0, 2, 4, 6, 8]),
        (0, 0.005, [0, 0.001, 0.002, 0.003, 0.004, 0.005]),
        (-0.4, 1, [-0.5, 0, 0.5, 1]),
        (0, 1.32e9, [0, 5e8, 1e9, 1.5e9]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_axes_of_steps_have_whole_numbers() -> None:
    assert within(1, 120) == [25, 50, 75, 100]
    assert within(1, 3) == [1, 2, 3]
    assert within(7, 7) == [7]
    for high in range(1, 400):
        assert 1 <= len(within(0, high)) <= 6
        assert ticks(0, high, whole=True)[-1] >= high


def test_what_a_merge_changed_is_told(make_spec: MakeSpec) -> None:
    merged = {"accuracy": {"merged": 0.85, "change": -0.02}}
    told = card(make_spec(), EVALUATION, facts(merged_metrics=merged))
    assert "| accuracy | 0.85 | -0.02 |" in told
    assert "measured on the 4-bit base" in told
    shown = page(make_spec(), journal(), EVALUATION, facts(merged_metrics=merged))
    assert '<td>accuracy</td><td class="n">0.85</td><td class="n">-0.02</td>' in shown
    plain = facts()
    assert "4-bit" not in card(make_spec(), EVALUATION, plain)
    assert "4-bit" not in page(make_spec(), journal(), EVALUATION, plain)


@pytest.mark.parametrize("method", ["full", "lora", "qlora", "adapter", "ia3", "prefix", "prompt"])
def test_each_method_says_how_to_load_it(method: str) -> None:
    code = snippet(method, facts(artifact="model" if method == "full" else "adapter"))
    compile(code, "snippet", "exec")
    assert ("PeftModel" in code) == (method not in ("full", "adapter"))
    assert ("bottleneck.load" in code) == (method == "adapter")
    classes = facts(auto_class="AutoModelForSequenceClassification", labels=("a", "b"), merged=True)
    assert ("num_labels=2" in snippet(method, classes)) == (method != "full")


@pytest.mark.parametrize(
    ("uri", "command"),
    [
        ("s3://m/my%20model", "aws s3 cp --recursive 's3://m/my model' base"),
        ("hf://own/tiny", "hf download own/tiny --revision c0ffee --local-dir base"),
        ("hf://models/own/tiny", "hf download own/tiny --revision c0ffee --local-dir base"),
        (
            "hf://own/tiny/a%20b/[c]",
            "hf download own/tiny --include 'a b/[[]c]/*' --revision c0ffee --local-dir whole "
            "&& mv 'whole/a b/[c]' base",
        ),
    ],
)
def test_the_base_is_fetched_under_its_own_name(uri: str, command: str) -> None:
    assert fetching(uri, "c0ffee") == command


@pytest.mark.parametrize("name", ["plain", "my models", "it's $HOME", "%41", "#1"])
def test_the_command_that_copies_the_base_runs(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    command = fetching(f"file://{encoded(str(folder))}", None)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "base" / "config.json").exists()


def test_a_base_on_a_claim_is_copied_by_hand() -> None:
    told = fetching("pvc://models/my%20model", None)
    assert told == "# copy the folder my model of the PersistentVolumeClaim models to base"
    assert fetching("pvc://models", None) == "# copy the PersistentVolumeClaim models to base"
    assert "\n" not in fetching("pvc://models/a%0Arm", None)  # a line of its own would be run


def test_the_card(make_spec: MakeSpec) -> None:
    text = card(make_spec(), EVALUATION, facts())
    assert text.startswith("---\nbase_model: file://")
    assert "| accuracy | 0.39 | 0.87 | +0.48 | +0.41 to +0.55 |" in text
    assert "| script_cost |  | 3 |" in text
    assert "the weights are those of step 18" in text
    assert "LoRA, rank 8, alpha 16" in text
    assert "commit" not in text
    assert "licence" not in text
    known = card(make_spec(), EVALUATION, facts(commit="c0ffee", licence="apache-2.0"))
    assert "| its commit | `c0ffee` |" in known
    assert "| its licence | apache-2.0 |" in known
    assert "Not measured" in card(make_spec(), None, facts())


def test_a_result_on_eval_is_called_optimistic(make_spec: MakeSpec) -> None:
    """Those rows may have chosen the settings, or the step whose weights are the result."""
    on_eval = EVALUATION.model_copy(update={"split": "eval"})
    for evaluation, optimistic in ((EVALUATION, False), (on_eval, True)):
        told = card(make_spec(), evaluation, facts())
        shown = page(make_spec(), journal(), evaluation, facts())
        for text in (told, shown):
            assert ("may have guided choices: optimistic" in text) == optimistic
            assert ("training never saw" in text) != optimistic
