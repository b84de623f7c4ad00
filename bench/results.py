"""What the examples come to: each one's manifest, run on real weights and data by `luthier run`.

Writes docs/results.md. Models and data are made anew by the examples' own scripts, or, with
--work out, those that the commands of the page have left there: a second start goes on.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.figures import Rows

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
DOCUMENT = REPOSITORY / "docs" / "results.md"
LIMIT_SECONDS = 3600

# Models by the last part of their URI: who makes them, and what they are called.
MODELS = {
    "smollm2-135m-instruct": ("wordnet", "SmolLM2-135M-Instruct"),
    "minilm-l6": ("encoder", "all-MiniLM-L6-v2"),
}
NAMES = ("wordnet", "wordclass", "encoder", "entities", "pairs", "json", "summaries", "chat")

_HEAD = """\
# Results

What the examples come to on real weights and data, {machine}. Made by
`python -m bench results`, which prepares models and data by the examples' scripts and runs each
manifest as it stands with `luthier run`. One run each, one seed; base and tuned model
answer the same held-out rows. The interval is of the change, 95%, by a paired bootstrap over these
rows: it tells what other rows could have made of it, and nothing of other seeds.
`bleu` and `chrf` go to 100, the other scores to 1; `loss` and `perplexity` are better the lower. A
new head is untrained in the base model, which then guesses. `20 × 16 of 4,000`: 20 steps of 16
rows each. The CPU time is that of the whole run over all threads: start, training, both
measurements, publishing.

| example | task | model, method | learnt from | measured | metric | base | tuned | change | CPU |
|---|---|---|---|---|---|---|---|---|---|
"""

_TAIL = """
## Again

```sh
{commands}
```

The data are WordNet's and this machine's Debian packages; how each label came about stands at
the head of the example's `prepare_data.py`. The tags of `entities` and the objects of `json`
are silver, made by rules: their figures tell how well the rules are learnt. No example trains an
encoder-decoder: the examples take their models from Python packages, and none with a real one
is known to us.
"""


@dataclass(frozen=True)
class Outcome:
    """One example's run."""

    name: str
    spec: dict[str, Any]
    train_rows: int
    evaluation: dict[str, Any]
    cpu_seconds: float


def run(name: str, work: Path) -> Outcome:
    """Prepare and run one example. Raises SystemExit with the end of its log when it fails."""
    manifest = EXAMPLES / name / "finetunejob.yaml"
    spec = yaml.safe_load(manifest.read_text())["spec"]
    data, model = prepared(name, "data", work / name), model_of(spec, work)
    command = [sys.executable, "-m", "luthier_cli", "run", str(manifest), "-o", "json"]
    command += ["--model", str(model), "--dataset", str(data), "--output", str(work)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS, env=_environment(work)
    )
    if done.returncode != 0:
        raise SystemExit(f"{name}: luthier run ended with {done.returncode}\n{done.stdout}")
    summary = json.loads(done.stdout)
    return Outcome(
        name=name,
        spec=spec,
        train_rows=len((data / "train.jsonl").read_text().splitlines()),
        evaluation=summary["evaluation"],
        cpu_seconds=summary["usage"]["cpuSeconds"],
    )


def document(outcomes: Sequence[Outcome]) -> str:
    """The page."""
    machine = f"{os.cpu_count()} CPUs ({platform.machine()}), no GPU"
    return (
        _HEAD.format(machine=machine)
        + "".join(line + "\n" for outcome in outcomes for line in _lines(outcome))
        + _TAIL.format(commands="\n".join(_commands(outcomes)))
    )


def rows(names: Sequence[str] = NAMES, work: Path | None = None) -> Rows:
    """Run the examples, write the page, and give its figures."""
    with contextlib.ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luthier-results-")))
        outcomes = []
        for name in names:
            outcomes.append(run(name, work))
            print(f"{name}: {outcomes[-1].cpu_seconds:.0f} s of CPU", file=sys.stderr)
    if set(names) == set(NAMES):  # the page is of all, from one machine
        DOCUMENT.write_text(document(outcomes))
    return [
        (f"{outcome.name}: {metric}", f"{base} → {tuned}, change {change}")
        for outcome in outcomes
        for metric, base, tuned, change in _figures(outcome.evaluation)
    ]


def _lines(outcome: Outcome) -> list[str]:
    """Rows of the table: what all metrics share stands in the first."""
    spec, found = outcome.spec, outcome.evaluation
    batch = spec["training"]["perDeviceBatchSize"]
    method = spec.get("method", {}).get("type", "lora")
    shared = (
        f"[{outcome.name}](../examples/{outcome.name}/finetunejob.yaml)",
        spec["task"],
        f"{MODELS[_model_name(spec)][1]}, {method}",
        f"{spec['training']['maxSteps']} × {batch} of {outcome.train_rows:,}",
        f"{found['examples']:,} of {found['split']}",
    )
    lines = []
    for number, figures in enumerate(_figures(found)):
        first = number == 0
        cells = (
            *(shared if first else ("",) * len(shared)),
            *figures,
            f"{outcome.cpu_seconds:.0f} s" if first else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _figures(evaluation: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(metric, base, tuned, change) for people. A value that isn't defined is a dash."""
    found = []
    for metric, tuned in evaluation["tuned"].items():
        base, change = evaluation["base"].get(metric), evaluation["change"].get(metric)
        found.append(
            (
                metric,
                "–" if base is None else f"{base:.3f}",
                f"{tuned:.3f}",
                f"{change['by']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
                if change
                else "–",
            )
        )
    return found


def _commands(outcomes: Sequence[Outcome]) -> list[str]:
    models = dict.fromkeys(_model_name(outcome.spec) for outcome in outcomes)
    lines = [
        f"python examples/{MODELS[model][0]}/prepare_model.py --output out/{model}"
        for model in models
    ]
    for outcome in outcomes:
        example = f"examples/{outcome.name}"
        lines += [
            f"python {example}/prepare_data.py --output out/{outcome.name}",
            f"luthier run {example}/finetunejob.yaml --model out/{_model_name(outcome.spec)} "
            f"--dataset out/{outcome.name}",
        ]
    return lines


def model_of(spec: dict[str, Any], work: Path) -> Path:
    """The example's model, made once."""
    name = _model_name(spec)
    return prepared(MODELS[name][0], "model", work / name)


def _model_name(spec: dict[str, Any]) -> str:
    name: str = spec["model"]["uri"].rsplit("/", 1)[1]
    return name


def prepared(example: str, what: str, folder: Path) -> Path:
    """What the example's script makes, once."""
    if not folder.exists():
        script = EXAMPLES / example / f"prepare_{what}.py"
        subprocess.run(
            [sys.executable, str(script), "--output", str(folder)],
            check=True,
            stdout=sys.stderr,
            timeout=LIMIT_SECONDS,
        )
    return folder


def _environment(work: Path) -> dict[str, str]:
    """Nothing that other runs left in the cache is used."""
    return {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.results", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="|".join(NAMES), help="default: all")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keeps what it makes")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no example {', '.join(sorted(unknown))}")
    for what, figure in rows(options.names or NAMES, options.work and options.work.absolute()):
        print(f"{what}: {figure}")


if __name__ == "__main__":
    main()
