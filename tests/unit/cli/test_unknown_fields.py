"""Fields that there aren't, in every kind and in luthier.yaml: refused, with what was meant."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest
from pydantic.alias_generators import to_snake
from unit.cli.command import luthier
from unit.cli.tiny import MANIFEST

from luthier_api.platform import parse_platform
from luthier_cli.order import InvalidManifestError, Options, read_order
from luthier_cli.platformfile import check, is_platform
from luthier_cli.validate import Report, validate
from luthier_cli.yaml import load_documents

PLATFORM = """\
defaultPool: cpu
pools:
- name: cpu
  image: registry.example.com/trainer
  resources: {requests: {cpu: "2"}}
  tolerations: [{key: gpu}]
storage: {pathStyle: true}
"""


def checked(text: str, file: str = "job.yaml") -> Report:
    from luthier_cli.offline import check_document

    return validate([(file, text)], check_document)


def said(report: Report) -> dict[str, str]:
    return {it.field: f"{it.message} → {it.remedy}" for it in report.findings}


def renamed(node: Any) -> Any:
    """With Python's names in place of the API's; keys of the user's own stay."""
    if isinstance(node, dict):
        return {to_snake(key): renamed(value) for key, value in node.items()}
    return [renamed(item) for item in node] if isinstance(node, list) else node


@pytest.mark.parametrize("manifest", [FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE])
def test_pythons_names_are_unknown_in_every_kind(manifest: Manifest) -> None:
    assert checked(yaml.safe_dump(manifest)).findings == []
    spec = renamed(manifest["spec"])
    assert spec != manifest["spec"]
    found = said(checked(yaml.safe_dump({**manifest, "spec": spec})))
    unknown = {field: words for field, words in found.items() if words.startswith("unknown field")}
    assert unknown
    for field, words in unknown.items():
        assert "did you mean" in words, (field, words)
        assert to_snake(words.partition("mean ")[2].rstrip("?")) == field.rpartition(".")[2]


def test_names_of_other_tools_at_every_depth() -> None:
    text = MANIFEST.replace("    maxSteps: 6\n", "    max_steps: 6\n    learning_rate: 0.01\n")
    text = text.replace("  training:\n", "  method: {lora: {r: 8, lora_alpha: 16}}\n  training:\n")
    text = text.replace(
        "    evalFraction", "    mix: [{uri: s3://a/b, wait: 2}]\n    eval_fraction"
    )
    assert said(checked(text)) == {
        "spec.dataset.mix[0].wait": "unknown field → did you mean weight?",
        "spec.dataset.eval_fraction": "unknown field → did you mean evalFraction?",
        "spec.method.lora.r": "unknown field → did you mean rank?",
        "spec.method.lora.lora_alpha": "unknown field → did you mean alpha?",
        "spec.training.max_steps": "unknown field → did you mean maxSteps?",
        "spec.training.learning_rate": "unknown field → did you mean learningRate?",
    }


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("metadata: {name", "metadata: {nmae: x, name", "metadata.nmae", "did you mean name?"),
        ("spec:", "outputs: {}\nspec:", "outputs", "did you mean spec.output?"),
        ("spec:", "training: {}\nspec:", "training", "did you mean spec.training?"),
        ("luthier.dev/v1alpha1", "luther.dev/v1alpha1", "apiVersion", "use luthier.dev/v1alpha1"),
        ("luthier.dev/v1alpha1", "luthier.dev", "apiVersion", "use luthier.dev/v1alpha1"),
        ("luthier.dev/v1alpha1", "v1alpha1", "apiVersion", "use luthier.dev/v1alpha1"),
        ("apiVersion: luthier.dev/v1alpha1\n", "", "apiVersion", "use luthier.dev/v1alpha1"),
        ("kind: FineTuneJob", "kind: FinetuneJob", "kind", "did you mean FineTuneJob?"),
        ("kind: FineTuneJob", "kind: ftj", "kind", "did you mean FineTuneJob?"),
    ],
)
def test_around_the_spec(old: str, new: str, field: str, words: str) -> None:
    # Beside a resource that is right, too: it was passed over as none of ours.
    report = checked(f"{MANIFEST}---\n{MANIFEST.replace(old, new, 1)}")
    assert words in said(report)[field]
    assert report.skipped == []


def test_others_resources_are_none_of_ours() -> None:
    other = "apiVersion: finetune.example.io/v1\nkind: FinetuneJob\nmetadata: {name: x}\n"
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\n"
    report = checked(f"{MANIFEST}---\n{other}---\n{job}")
    assert (report.findings, len(report.skipped)) == ([], 2)


def test_keys_that_are_given_twice() -> None:
    twice = MANIFEST.replace("    maxSteps: 6\n", "    maxSteps: 6\n    maxSteps: 7\n")
    [finding] = checked(twice).findings
    assert (finding.line, finding.message) == (14, "'maxSteps' is given twice")


@pytest.mark.parametrize(
    "setting", ["training.max_steps=5", "spec.training.max_steps=5", "training={max_steps: 5}"]
)
def test_run_and_its_overrides(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST)
    with pytest.raises(InvalidManifestError) as refused:
        read_order(str(file), Options(settings=[setting]))
    found = {it.field: it.remedy for it in refused.value.findings}
    assert found["spec.training.max_steps"] == "did you mean maxSteps?"


def test_luthier_yaml() -> None:
    [document] = load_documents(PLATFORM)
    parse_platform(document.value)
    assert is_platform(document.value, "values.yaml")
    assert check(document, "luthier.yaml") == []
    wrong = PLATFORM.replace("pathStyle", "path_style").replace("{key: gpu}", "{efect: x}")
    wrong = wrong.replace("  image:", "  max_gpus: 1\n  image:")
    report = checked(wrong, "luthier.yaml")
    assert said(report) == {
        "pools[0].max_gpus": "unknown field → did you mean maxGpus?",
        "pools[0].tolerations[0].efect": "unknown field → did you mean effect?",
        "storage.path_style": "unknown field → did you mean pathStyle?",
    }
    assert [it.line for it in report.findings] == [4, 7, 8]


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "luthier.yaml"
    file.write_text(PLATFORM.replace("defaultPool", "default_pool"))
    done = luthier("validate", str(file))
    assert done.returncode == 1
    assert f"{file}:1: default_pool: unknown field → did you mean defaultPool?" in done.stdout
