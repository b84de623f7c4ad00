"""What is shown of a FineTuneJob's revisions, and compared of two of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier_cli.compare import compared
from luthier_cli.comparison import curves_of, page, render
from luthier_cli.errors import CliError
from luthier_cli.history import render as history
from luthier_cli.promote import engine_of, lines_of
from luthier_cli.revisions import find, revisions_of, with_result

FIRST, SECOND, THIRD, FAILED = "r1-0a0a0a0a", "r2-0b0b0b0b", "r3-0c0c0c0c", "r0-0d0d0d0d"


def job(root: str = "s3://models/team/tone", **promote: Any) -> dict[str, Any]:
    """Three revisions, of which the second is in use and the third is too unsure."""
    sha = "0" * 64
    return {
        "metadata": {"name": "tone", "namespace": "team", "generation": 3},
        "spec": {"promote": {"when": "IfBetter", "metric": "accuracy", **promote}},
        "status": {
            "revision": THIRD,
            "completionTime": "2026-01-03T00:00:00Z",
            "datasetDigest": "sha256:cccccccccccc",
            "artifact": {"uri": f"{root}/{THIRD}", "manifestSha256": sha},
            "inUse": {"uri": f"{root}/{SECOND}", "revision": SECOND, "manifestSha256": sha},
            "evaluation": {
                "tuned": {"loss": 0.4, "accuracy": 0.82},
                "comparedWith": SECOND,
                "gain": {"accuracy": {"by": 0.02, "low": -0.01, "high": 0.05}},
            },
            "conditions": [
                {"type": "Complete", "status": "True", "reason": "Completed"},
                {
                    "type": "Promoted",
                    "status": "False",
                    "reason": "Undecided",
                    "message": "accuracy: +0.02 against r2: too few rows.",
                },
            ],
            "history": [
                {
                    "revision": SECOND,
                    "outcome": "Complete",
                    "finished": "2026-01-02T00:00:00Z",
                    "artifactUri": f"{root}/{SECOND}",
                    "datasetDigest": "sha256:bbbbbbbbbbbb",
                    "metrics": {"accuracy": 0.8, "loss": 0.5},
                    "promoted": "Better",
                },
                {"revision": FIRST, "outcome": "Complete", "artifactUri": f"{root}/{FIRST}"},
                {"revision": FAILED, "outcome": "Failed"},
            ],
        },
    }


def shown(what: Any) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_the_history_says_what_is_in_use_and_why_not() -> None:
    text = shown(history(revisions_of(job()), "accuracy"))
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["Revision", "Outcome", "Finished", "accuracy"]
    third = next(it for it in lines if THIRD in it)
    assert "0.82 (r2 -0.01 to +0.05)" in third
    assert "cccccccc" in third
    assert "Undecided" in third
    second = next(it for it in lines if SECOND in it)
    assert second.startswith("●")
    assert "Better" in second
    assert f"{THIRD}: Undecided: accuracy: +0.02 against r2: too few rows." in text
    assert "●" not in third


def test_a_pin_is_marked() -> None:
    [third, second, *_] = revisions_of(job(pin=SECOND))
    assert (third.pinned, second.pinned) == (False, True)
    assert f"{SECOND} (pinned)" in shown(history([third, second], None))


def test_the_history_of_nothing() -> None:
    assert revisions_of({"metadata": {"name": "tone"}}) == []


def test_a_revision_by_its_name_or_number() -> None:
    known = revisions_of(job())
    assert find(known, "r2").name == SECOND
    assert find(known, THIRD).name == THIRD
    with pytest.raises(CliError) as unknown:
        find(known, "r7")
    assert SECOND in unknown.value.remedy
    with pytest.raises(CliError, match="has no result"):
        with_result(find(known, FAILED))


def artifact(folder: Path, steps: int, losses: list[float]) -> None:
    (folder / "report").mkdir(parents=True)
    spec = {"task": "classification", "training": {"maxSteps": steps, "seed": 42}}
    (folder / "manifest.json").write_text(json.dumps({"spec": spec, "result": {}}))
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses, 1)]
    (folder / "report" / "metrics.jsonl").write_text("\n".join([*lines, "{half"]))


def test_two_revisions_beside_each_other(tmp_path: Path) -> None:
    artifact(tmp_path / SECOND, 100, [3.0, 2.0, 1.0])
    artifact(tmp_path / THIRD, 200, [3.0, 1.0, 0.5])
    found, note = compared(job(f"file://{tmp_path}"), "r2", THIRD, None)
    assert note == ""
    assert found.settings() == {"training.maxSteps": (100, 200)}
    assert found.same_data() is False
    assert found.metrics()["accuracy"] == (0.8, 0.82)
    text = shown(render(found))
    assert "+0.02" in text
    assert "-0.01 to +0.05" in text
    assert "training.maxSteps" in text
    assert "3 → 0.5" in text
    document = found.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["curves"][THIRD]["loss"][-1] == [3, 0.5]
    html = page(found)
    assert html.count("<polyline") == 2
    assert "training.maxSteps" in html


def test_what_cannot_be_read_is_told_and_the_rest_shown(tmp_path: Path) -> None:
    found, note = compared(job(f"file://{tmp_path}"), SECOND, THIRD, None)
    assert "manifest.json" in note
    assert found.metrics()["accuracy"] == (0.8, 0.82)
    assert "aren't known here" in shown(render(found))
    assert "<script" not in page(found)


def test_a_page_shows_foreign_text_as_text(tmp_path: Path) -> None:
    for name in (SECOND, THIRD):
        artifact(tmp_path / name, 1, [1.0])
        text = json.dumps({"spec": {"task": f"<script>{name}</script>"}, "result": {}})
        (tmp_path / name / "manifest.json").write_text(text)
    found, _ = compared(job(f"file://{tmp_path}"), SECOND, THIRD, None)
    assert "<script" not in page(found)


def test_curves_of_what_is_none() -> None:
    assert curves_of(b'[1]\n{"step": "x", "loss": 1}\n{"step": 1, "loss": "x"}\n\xff') == {}


@pytest.mark.parametrize(
    ("metadata", "engine"),
    [
        ({}, None),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "Flux"),
        ({"managedFields": [{"manager": "helm-controller"}]}, "Flux"),
        ({"managedFields": [{"manager": "kubectl"}]}, None),
    ],
)
def test_what_git_manages_is_known(metadata: dict[str, Any], engine: str | None) -> None:
    assert engine_of({"metadata": metadata}) == engine


def test_the_lines_for_git() -> None:
    assert lines_of(SECOND) == f"spec:\n  promote:\n    pin: {SECOND}"
    assert "remove spec.promote.pin" in lines_of(None)
