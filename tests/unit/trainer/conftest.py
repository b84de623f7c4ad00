"""A tiny model with a real tokenizer, a small dataset, trainer processes, and a real S3."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# As the trainer sets it for itself; torch reads it when it is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from unit.trainer.support import (
    ACCESS_KEY,
    SECRET_KEY,
    MakeSpec,
    Operator,
    Seaweed,
    TrainerProcess,
    client,
    colour_rows,
    create_bucket,
    spec_maker,
    write_jsonl,
)
from unit.trainer.tracking_support import Gate, MlflowServer
from unit.trainer.warm import PatchedSubprocess, WarmProcess

from luthier_api.runspec import RunSpec
from luthier_trainer.machine import child
from luthier_trainer.machine.runtime import settings

if TYPE_CHECKING:
    from unit.trainer.bundle_built import Built


@pytest.fixture
def nothing_hidden() -> None:
    """Packages that the trainer hides from itself, for a test that compares with them."""
    for name in [name for name, module in sys.modules.items() if module is None]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer, trained on the dataset's sentences."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trainer = ByteLevelBPETokenizer()
    texts = [f"Text: {row['text']}\nColour: {row['label']}" for row in colour_rows(200)]
    trainer.train_from_iterator(texts, vocab_size=400, special_tokens=["<eos>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=trainer._tokenizer, eos_token="<eos>", pad_token="<eos>"
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A folder with a two-layer Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        eos_token_id=tiny_tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset's folder: 42 train rows, 30 test rows."""
    folder = tmp_path_factory.mktemp("colours")
    write_jsonl(folder / "train.jsonl", colour_rows(42))
    write_jsonl(folder / "test.jsonl", colour_rows(30, offset=1000))
    return folder


@pytest.fixture
def make_spec(tiny_model: Path, colours: Path, tmp_path: Path) -> MakeSpec:
    """A run of 12 steps over 3 epochs on file://; keywords override parts of it."""

    return spec_maker(tiny_model, colours, tmp_path)


@pytest.fixture
def start_trainer(tmp_path: Path) -> Iterator[Callable[..., TrainerProcess]]:
    with _starter(tmp_path, subprocess.Popen) as start:
        yield start


@pytest.fixture
def start_warm_trainer(tmp_path: Path) -> Iterator[Callable[..., TrainerProcess]]:
    """As `start_trainer`, by processes whose imports are done."""
    with _starter(tmp_path, WarmProcess) as start:
        yield lambda spec, **more: start(spec, **{**settings(spec.scratch_dir), **more})


@pytest.fixture(scope="session", autouse=True)
def warm_children() -> Iterator[None]:
    """Programs that build and measure packages begin with their imports done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "subprocess", PatchedSubprocess)
        yield


@contextmanager
def _starter(tmp_path: Path, popen: Callable[..., Any]) -> Iterator[Callable[..., TrainerProcess]]:
    started: list[Any] = []

    def start(spec: RunSpec, **environment: str) -> TrainerProcess:
        number = len(started)
        spec_file = tmp_path / f"runspec-{number}.json"
        spec_file.write_text(json.dumps(spec.to_json()))
        log, result = tmp_path / f"log-{number}", tmp_path / f"result-{number}"
        with log.open("wb") as stdout:
            process = popen(
                [sys.executable, "-m", "luthier_trainer", str(spec_file)],
                stdout=stdout,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LUTHIER_TERMINATION_LOG": str(result), **environment},
            )
        started.append(process)
        return TrainerProcess(process, log, result)

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(60)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    server.start()
    for bucket in ("artifacts", "datasets", "models", "store"):
        create_bucket(client(server.endpoint), bucket)
    yield server
    server.stop()


@pytest.fixture
def s3(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client; the trainer finds the credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return client(seaweed.endpoint)


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def gate(mlflow: MlflowServer) -> Iterator[Gate]:
    found = Gate(mlflow.uri)
    yield found
    found.close()


@pytest.fixture
def operator() -> Iterator[Operator]:
    operator = Operator()
    yield operator
    operator.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> "Built":
    """A bundle of many adapters, not to be changed."""
    from unit.trainer.bundle_built import build

    return build(tmp_path_factory.mktemp("bundle"), colours)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What a bundle's run really does: bases built, adapter files written, adapters proven."""
    from luthier_trainer.bundle import proof
    from luthier_trainer.packages.genai import adapterfile, graph

    done: dict[str, list[str]] = {"built": [], "written": [], "proven": []}
    build, write, prove = graph.build, adapterfile.write, proof.prove_likeness

    def building(base: Path, *rest: Any) -> None:
        done["built"].append(str(base))
        build(base, *rest)

    def writing(parameters: Any, path: Path) -> None:
        done["written"].append(path.stem)
        write(parameters, path)

    def proving(candidates: Any, *rest: Any) -> Any:
        done["proven"] += [candidate.name for candidate in candidates]
        return prove(candidates, *rest)

    monkeypatch.setattr(graph, "build", building)
    monkeypatch.setattr(adapterfile, "write", writing)
    monkeypatch.setattr("luthier_trainer.bundle.assemble.prove_likeness", proving)
    return done


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for it, signed by itself: a CA of one."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    made = path.with_suffix(".crt")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=luthier-test -addext subjectAltName=IP:127.0.0.1 -keyout {path} -out {made}"
    )
    subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=60)
    path.write_bytes(path.read_bytes() + made.read_bytes())
    return path
