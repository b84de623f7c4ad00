"""What the trainer says to a cluster's user, said to the one in front of this machine."""

import ast
import re
from pathlib import Path

import pytest
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest, changed
from unit.cli.command import luthier
from unit.cli.tiny import MANIFEST

import luthier_trainer
from luthier_api.kinds import KINDS
from luthier_api.result import RunError
from luthier_cli import remedies
from luthier_cli.summary import UNREAD
from luthier_trainer.errors import from_exception

CLUSTERS = re.compile(
    r"\b[Pp]ods?\b|\bpool\b|Secret|secretName|tokenSecretRef|NetworkPolicy|scratch"
)


@pytest.fixture(scope="module")
def told_by_the_trainer() -> str:
    """All its texts in their order, without the values in them."""
    found: list[tuple[str, int, int, str]] = []
    for file in Path(luthier_trainer.__file__).parent.rglob("*.py"):
        found += [
            (str(file), node.lineno, node.col_offset, node.value)
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return "".join(text for *_, text in sorted(found))


@pytest.mark.parametrize("words", [*remedies.WORDS, UNREAD])
def test_each_stands_in_the_trainers_code(words: str, told_by_the_trainer: str) -> None:
    assert words in told_by_the_trainer


@pytest.mark.parametrize("kind", ["FineTuneJob", "OptimizeJob", "AdapterBundle"])
@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        OSError(28, "No space left on device", "/cache/x"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"),
        RuntimeError("x"),
    ],
)
def test_nothing_of_a_cluster_is_left(failure: Exception, kind: str) -> None:
    told = from_exception(failure, kind).error
    ours = remedies.here(told, None, KINDS[kind], {})
    assert CLUSTERS.search(told.message)
    assert not CLUSTERS.search(ours.message), ours.message
    assert ours.param != "placement.pool"


def test_of_a_store() -> None:
    text = "s3://models/tiny: no credentials for S3; name a Secret with AWS_ACCESS_KEY_ID and "
    text += "AWS_SECRET_ACCESS_KEY in storage.secretName"
    error = RunError(code="NoCredentials", message=text, param="model.uri")
    assert here(error, FINE_TUNE_JOB).message == (
        "s3://models/tiny: no credentials for S3; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
        "(or AWS_PROFILE); a store other than AWS: its URL in --s3-endpoint; or take what lies on "
        "this machine: --model DIR"
    )
    of_rows = error.model_copy(update={"param": "dataset.uri"})
    assert here(of_rows, FINE_TUNE_JOB, "http://s3.example").message.endswith(
        "(or AWS_PROFILE); or take what lies on this machine: --dataset FILE"
    )


BY_URI = changed(
    OPTIMIZE_JOB,
    {
        "spec.source": {"modelUri": "s3://models/tiny", "adapterUri": "s3://models/adapter"},
        "spec.evaluation": {"task": "generation", "dataset": {"uri": "s3://datasets/rows.jsonl"}},
    },
)
ROWS_OF_ITS_OWN = changed(OPTIMIZE_JOB, {"spec.evaluation": BY_URI["spec"]["evaluation"]})
MIXED = changed(FINE_TUNE_JOB, {"spec.dataset.mix": [{"uri": "s3://datasets/b.jsonl"}]})
LOCAL_ROWS = changed(MIXED, {"spec.dataset.uri": "file:///data/a.jsonl"})
BUNDLE = changed(ADAPTER_BUNDLE, {"spec.adapters": [{"name": "a", "uri": "s3://models/adapter"}]})


@pytest.mark.parametrize(
    ("manifest", "param", "remedy"),
    [
        (LOCAL_ROWS, "dataset.mix[0].uri", "its file:///PATH in spec.dataset.mix[0].uri"),
        (MIXED, "dataset.uri", "--dataset FILE"),
        (BY_URI, "source.modelUri", "--model DIR"),
        (BY_URI, "source.adapterUri", "its file:///PATH in spec.source.adapterUri"),
        (BY_URI, "dataset.uri", "--dataset FILE"),
        (BUNDLE, "base.uri", "--model DIR"),
        (BUNDLE, "adapters[0].uri", "its file:///PATH in spec.adapters[0].uri"),
        (FINE_TUNE_JOB, "output.uri", "write to a folder: --output DIR"),
        # Of what a FineTuneJob was run with: nothing in this spec is in its place.
        (OPTIMIZE_JOB, "model.uri", None),
        (OPTIMIZE_JOB, "dataset.uri", None),
        (OPTIMIZE_JOB, "source.fineTuneJobRef", None),
        (ROWS_OF_ITS_OWN, "model.uri", None),
        (ROWS_OF_ITS_OWN, "dataset.uri", "--dataset FILE"),
        (ADAPTER_BUNDLE, "adapters[0].uri", None),
    ],
)
def test_the_option_that_changes_what_the_error_names(
    manifest: Manifest, param: str, remedy: str | None
) -> None:
    error = RunError(code="StorageDenied", message="s3://b/k: denied", param=param)
    told = here(error, manifest, "http://s3.example").message
    if remedy is None:
        assert told == error.message
    else:
        assert told.endswith(remedy)


def here(error: RunError, manifest: Manifest, endpoint: str | None = None) -> RunError:
    return remedies.here(error, endpoint, KINDS[manifest["kind"]], manifest["spec"])


def test_a_manifest_of_s3_without_a_word_of_where(tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST)
    done = luthier(
        *("run", str(file), "--output", str(tmp_path / "out")),
        within=240,
        HOME=str(tmp_path),
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert done.returncode == 1
    shown = " ".join(done.stdout.split())
    assert "no credentials for S3; set AWS_ACCESS_KEY_ID" in shown
    assert "--model DIR" in shown
    assert "storage.secretName" not in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "model.uri=meta-llama/Llama-3"), "did you mean hf://meta-llama/Llama-3?"),
        (("--set", "dataset.uri=owner/rows"), "did you mean hf://owner/rows?"),
        (
            ("--set", "model.uri=https://huggingface.co/owner/model/tree/main"),
            "did you mean hf://owner/model?",
        ),
        (
            ("--set", "dataset.uri=https://www.huggingface.co/datasets/owner/rows"),
            "did you mean hf://owner/rows?",
        ),
        (
            ("--set", "dataset.uri=https://huggingface.co/datasets/owner/rows?row=1"),
            "did you mean hf://owner/rows?",
        ),
        (
            ("--set", "model.uri=/usr/lib"),
            "a file of this machine: file://…, or --model and --dataset",
        ),
        (("--model", "meta-llama/Llama-3"), "--set model.uri=hf://meta-llama/Llama-3"),
    ],
)
def test_names_that_are_no_uri(tmp_path: Path, options: tuple[str, str], words: str) -> None:
    file = tmp_path / "things.yaml"
    file.write_text(MANIFEST)
    done = luthier("run", str(file), *options)
    assert done.returncode in (1, 2)
    assert words in done.stderr
