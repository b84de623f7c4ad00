"""`luthier convert`: what each tool's configuration becomes, and that nothing of it is dropped."""

import json
from typing import Any

import pytest
from unit.cli.command import luthier
from unit.cli.converted import CONFIGS, FILES, converted, spec

from luthier_cli import offline, searches
from luthier_cli.commands.convert import Tool
from luthier_cli.convert.convert import Converted, Naming, convert_text
from luthier_cli.convert.sources import SOURCES
from luthier_cli.convert.told import Fate
from luthier_cli.errors import CliError, Exit
from luthier_cli.yaml import load_documents

EXPECTED: dict[str, dict[str, Any]] = {
    "axolotl-lora.yaml": {
        "model.uri": "hf://acme/small-1b",
        "dataset.uri": "hf://acme/instructions",
        "dataset.mix": [{"uri": "s3://datasets/more.jsonl"}],
        "dataset.columns": {"instruction": "instruction", "input": "input", "output": "output"},
        "dataset.evalFraction": 0.1,
        "method.type": "lora",
        "method.lora.rank": 16,
        "method.lora.targetModules": ["all-linear"],
        "training.epochs": 1,
        "training.learningRate": 2e-4,
        "training.perDeviceBatchSize": 2,
        "training.gradientCheckpointing": "Always",
        "training.packing": "Always",
        "training.optimizer": "adamw_bnb_8bit",
        "training.warmupRatio": 0.1,
        "tracking": {"wandb": {"project": "tones"}},
        "placement.gpus": 1,
    },
    "axolotl-chat.yaml": {
        "dataset.columns": {"messages": "conversations"},
        "dataset.train": "train[:20%]",
        "method.type": "qlora",
        "training.maxSteps": 200,
        "training.warmupRatio": 0.1,
        "training.evalEverySteps": 50,
        "training.saveEverySteps": 50,
        "training.earlyStopping.patience": 3,
        "training.precision": "bf16",
        "training.scheduler": "cosine",
    },
    "axolotl-prompt.yaml": {
        "dataset.uri": "s3://datasets/rows.jsonl",
        "dataset.template": "### {question}\n### Answer: {answer}",
        "dataset.lossOn": "Completion",
        "dataset.train": "train[:-100]",
        "dataset.eval": "train[-100:]",
        "method.type": "full",
    },
    "axolotl-dpo.yaml": {
        "task": "preference",
        "training.preference": {"objective": "dpo", "beta": 0.2},
        "dataset.columns": {"prompt": "conversation", "chosen": "chosen", "rejected": "rejected"},
    },
    "llamafactory-simpo.yaml": {
        "task": "preference",
        "training.preference": {"objective": "simpo", "beta": 0.1, "sftWeight": 0.1, "gamma": 0.5},
        "dataset.uri": "s3://datasets/choices.json",
        "dataset.columns": {"prompt": "question", "chosen": "better", "rejected": "worse"},
    },
    "trl-kto.yaml": {
        "task": "preference",
        "training.preference": {"objective": "kto", "beta": 0.05, "desirableWeight": 1.5},
        "training.learningRate": 1e-6,
        "dataset.columns": {"prompt": "prompt", "completion": "completion", "label": "label"},
    },
    "openai-dpo.json": {
        "task": "preference",
        "training.preference": {"objective": "dpo", "beta": 0.3},
        "training.epochs": 2,
        "dataset.columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    },
    "llamafactory-sft.yaml": {
        "dataset.uri": "s3://datasets/tones.json",
        "dataset.columns": {"messages": "talk"},
        "method.lora.rank": 8,
        "method.lora.alpha": 16,
        "method.lora.targetModules": ["all-linear"],
        "training.evalEverySteps": 500,
        "evaluation.batchSize": 1,
        "training.maxLength": 2048,
    },
    "llamafactory-pt.yaml": {
        "dataset.uri": "hf://acme/books",
        "dataset.template": "{text}",
        "dataset.longRows": "Chunk",
        "method.type": "full",
        "method.full.weights": "bf16",
        "training.parallel": "fsdp",
    },
    "trl-sft.yaml": {
        "dataset.uri": "hf://acme/talks",
        "dataset.eval": "test",
        "method.type": "lora",
        "method.lora.rank": 32,
        "method.lora.dropout": 0.05,
        "training.scheduler": "cosine_with_min_lr",
        "training.schedulerOptions.minLearningRate": 2e-5,
        "tracking": {"wandb": {}},
        "training.evalEverySteps": 100,
    },
    "openai-job.json": {
        "dataset.uri": "s3://datasets/file-abc123",
        "dataset.eval": "validation",
        "dataset.columns": {"messages": "messages"},
        "training.epochs": 3,
        "training.learningRate": "auto",
        "training.perDeviceBatchSize": 4,
        "training.seed": 7,
    },
    "kubeflow-trainjob.yaml": {
        "model.uri": "hf://meta-llama/Llama-3.2-1B-Instruct",
        "model.tokenSecretRef": {"name": "hub", "key": "ACCESS_TOKEN"},
        "dataset.train": "train[:1000]",
        "dataset.columns": {"instruction": "question", "output": "answer"},
        "method.lora.targetModules": ["q_proj", "v_proj", "o_proj"],
        "method.lora.rank": 64,
        "training.epochs": 2,
        "placement": {"gpus": 2, "nodes": 1, "queueName": "team-a"},
    },
    "kubeflow-pytorchjob.yaml": {
        "model.uri": "hf://acme/small-1b",
        "dataset.uri": "s3://datasets/rows.jsonl",
        "method.lora.rank": 8,
        "training.learningRate": 0.001,
        "training.epochs": 2,
        "placement.nodes": 2,
    },
    "olive-qlora.json": {
        "model.uri": "hf://acme/small-7b",
        "dataset.uri": "hf://acme/codes",
        "dataset.template": "### Question: {prompt} \n### Answer: {response}",
        "dataset.train": "train[:-1024]",
        "dataset.eval": "train[-1024:]",
        "method.type": "qlora",
        "method.lora": {"rank": 64, "alpha": 16, "dropout": 0.1},
        "method.quantization.double": False,
        "training.maxSteps": 150,
        "training.learningRate": 2e-4,
        "training.scheduler": "constant",
        "training.evalEverySteps": 50,
        "training.precision": "bf16",
    },
    "olive-older.json": {
        "model.uri": "hf://acme/small-2b",
        "dataset.uri": "hf://acme/codes",
        "dataset.template": "Q: {prompt}\nA: {response}",
        "dataset.evalFraction": 0.3,
        "method.lora": {"rank": 64, "alpha": 64, "dropout": 0.1},
        "method.quantization": {"type": "nf4", "double": True, "computeType": "bf16"},
        "training.maxLength": 1024,
        "training.maxSteps": 100,
        "training.evalEverySteps": 50,
        "training.seed": 0,
        "training.gradientCheckpointing": "Never",
    },
    "olive-bert.json": {
        "source.modelUri": "hf://acme/bert-mrpc",
        "precisions": ["int8"],
        "gates": {"metric": "accuracy", "maxMetricDrop": 0.02},
        "evaluation.task": "classification",
        "evaluation.metrics": ["loss", "accuracy", "f1"],
        "evaluation.batchSize": 4,
        "evaluation.maxSamples": 500,
        "evaluation.dataset.uri": "hf://acme/mrpc",
        "evaluation.dataset.test": "validation",
        "evaluation.dataset.columns": {"text": "sentence", "label": "label"},
    },
    "olive-builder.json": {
        "source": {"modelUri": "hf://acme/small-1b", "adapterUri": "s3://models/tone"},
        "precisions": ["int4", "int8"],
        "int4": {"algorithm": "k_quant_mixed", "blockSize": 64},
    },
    "olive-search.yaml": {
        "dataset.uri": "s3://datasets/tones.jsonl",
        "dataset.template": "{phrase} {tone}",
        "method.lora.dora": True,
        "training.maxLength": 256,
        "search.strategy": "tpe",
        "search.trials": 6,
        "search.seed": 1,
        "search.space": {"lora.rank": {"type": "choice", "values": [8, 16, 32]}},
    },
}


def test_each_file_is_expected() -> None:
    assert set(EXPECTED) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_what_it_becomes(name: str) -> None:
    done = converted(name)
    assert done.source.name == FILES[name], "guessed"
    found = {path: spec(done, path) for path in EXPECTED[name]}
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", FILES)
def test_it_is_valid(name: str) -> None:
    """Its text, with all comments."""
    for document in load_documents(converted(name).yaml):
        assert offline.check_document(document, name) == []
        assert searches.check(document, name) == []


@pytest.mark.parametrize("name", FILES)
def test_what_the_text_says_is_the_manifest(name: str) -> None:
    done = converted(name)
    read = [document.value for document in load_documents(done.yaml)]
    assert json.loads(json.dumps(read)) == [draft.document() for draft in done.drafts]


@pytest.mark.parametrize("name", FILES)
def test_no_field_is_dropped(name: str) -> None:
    """Each field at the top of a configuration is told, or what is below it."""
    text = (CONFIGS / name).read_text()
    given = json.loads(text) if name.endswith(".json") else load_documents(text)[0].value
    told = [it.field.removeprefix("--") for it in converted(name).told]
    skipped = {"apiVersion", "kind"}
    for field, value in given.items():
        begins = any(
            it == field or it.startswith((f"{field}.", f"{field}[", f"{field}:")) for it in told
        )
        assert value is None or field in skipped or begins or FILES[name] == "kubeflow", field


def told(done: Converted, fate: Fate) -> dict[str, str]:
    return {it.field: it.why for it in done.told if it.fate is fate}


def changed(name: str, **fields: Any) -> Converted:
    text = (CONFIGS / name).read_text()
    given = load_documents(text)[0].value | fields
    return convert_text(json.dumps(given), name, Naming(), lambda _: None, FILES[name])


def test_unknown_fields_are_told() -> None:
    done = changed("axolotl-lora.yaml", swirl=3)
    assert "swirl" in told(done, Fate.UNKNOWN)
    assert "# - swirl: 3" in done.yaml


def test_what_a_field_cannot_be_is_told_and_left_out() -> None:
    done = changed("axolotl-lora.yaml", learning_rate=7, optimizer="muon", fp16=True)
    lost = told(done, Fate.LOST)
    assert "less than or equal to 1" in lost["learning_rate"]
    assert "muon" in lost["optimizer"]
    assert spec(done, "training.learningRate") is None
    assert spec(done, "training.precision") == "fp16"


@pytest.mark.parametrize(
    ("fields", "parallel"),
    [
        ({"deepspeed": "deepspeed_configs/zero3_bf16.json"}, "fsdp"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "fsdp"),
        ({"fsdp": ["full_shard", "auto_wrap"]}, "fsdp"),
        ({"deepspeed": "ds_z0_config.json"}, "ddp"),
        ({"deepspeed": "mine.json"}, None),
    ],
)
def test_a_model_that_is_shared_out(fields: dict[str, Any], parallel: str | None) -> None:
    done = changed("axolotl-prompt.yaml", **fields)
    assert spec(done, "training.parallel") == parallel
    assert not fields.keys() & told(done, Fate.LOST).keys()


def test_simpo_has_the_weights_of_axolotl() -> None:
    done = changed("axolotl-dpo.yaml", rl="simpo", rl_beta=2.0, simpo_gamma=1.6)
    expected = {"objective": "simpo", "beta": 2, "gamma": 1.6, "sftWeight": 1.0}
    assert spec(done, "training.preference") == expected
    assert told(changed("axolotl-dpo.yaml", simpo_gamma=1), Fate.MOOT)["simpo_gamma"]


def test_trackers() -> None:
    done = changed("trl-sft.yaml", report_to=["mlflow", "tensorboard", "swanlab"])
    assert spec(done, "tracking") == {"mlflow": {}}
    assert "report_to" in told(done, Fate.LOST)
    off = changed(
        "axolotl-lora.yaml", wandb_mode="disabled", mlflow_tracking_uri="http://flow:5000"
    )
    assert spec(off, "tracking") == {"mlflow": {"uri": "http://flow:5000"}}


def test_what_is_off_is_no_loss() -> None:
    done = changed("axolotl-lora.yaml", load_in_8bit=False, relora=False, deepspeed=None)
    assert not {"load_in_8bit", "relora", "deepspeed"} & told(done, Fate.LOST).keys()
    assert "load_in_8bit" in told(changed("axolotl-lora.yaml", load_in_8bit=True), Fate.LOST)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("axolotl-lora.yaml", {"rl": "grpo"}, "rl: grpo"),
        ("axolotl-lora.yaml", {"reward_model": True}, "reward_model"),
        ("axolotl-lora.yaml", {"adapter": "llama-adapter"}, "no method"),
        ("llamafactory-simpo.yaml", {"pref_loss": "hinge"}, "hinge"),
        ("trl-kto.yaml", {"loss_type": "apo_zero_unpaired"}, "apo_zero_unpaired"),
        ("llamafactory-sft.yaml", {"stage": "ppo"}, "stage: ppo"),
        ("llamafactory-sft.yaml", {"finetuning_type": "oft"}, "no method"),
        ("trl-sft.yaml", {"num_generations": 8}, "grpo"),
        ("openai-job.json", {"method": {"type": "reinforcement"}}, "reinforcement"),
        ("kubeflow-trainjob.yaml", {"spec": {"runtimeRef": {"name": "torch"}}}, "program"),
        ("olive-bert.json", {"input_model": {"type": "DiffusersModel"}}, "DiffusersModel"),
        (
            "olive-bert.json",
            {"input_model": {"type": "PyTorchModel", "model_script": "x.py", "model_loader": "f"}},
            "code of yours",
        ),
        ("olive-bert.json", {"passes": {"q": {"type": "QNNPreprocess"}}}, "QNNPreprocess"),
        ("olive-search.yaml", {"passes": {"q": {"type": "LoHa"}}}, "no method"),
    ],
)  # fmt: skip
def test_another_objective_is_refused(name: str, fields: dict[str, Any], said: str) -> None:
    """A manifest that trains something else would be no conversion."""
    if name.endswith(".json"):
        fields = json.loads((CONFIGS / name).read_text()) | fields
        with pytest.raises(CliError, match=said) as refused:
            convert_text(json.dumps(fields), name, Naming(), lambda _: None, FILES[name])
    else:
        with pytest.raises(CliError, match=said) as refused:
            changed(name, **fields)
    assert refused.value.code is Exit.FAILED


def test_a_configuration_that_trains_and_packages_makes_two_manifests() -> None:
    done = converted("olive-qlora.json")
    assert [draft.kind.name for draft in done.drafts] == ["FineTuneJob", "OptimizeJob"]
    name = done.drafts[0].name
    assert spec(done, "source", 1) == {"fineTuneJobRef": {"name": name}}
    assert spec(done, "precisions", 1) == ["fp16"]
    assert spec(done, "adapter", 1) == "Separate"
    assert spec(done, "target", 1) == {"device": "cuda", "provider": "CUDAExecutionProvider"}
    assert "passes.tuning" in told(done, Fate.LOST)


def test_an_older_schema_makes_two_manifests() -> None:
    done = converted("olive-older.json")
    assert [draft.name for draft in done.drafts] == ["older", "older-onnx"]
    assert spec(done, "precisions", 1) == ["int4"]
    assert spec(done, "int4.blockSize", 1) == 16
    lost = told(done, Fate.LOST)
    assert "data_configs.train_rows.load_dataset_config.type" in lost
    assert "data_configs.train_rows.pre_process_data_config.corpus_strategy" in lost


def test_names_are_followed() -> None:
    file = CONFIGS / "olive-qlora.json"
    naming = Naming("tone", "team-a")
    done = convert_text(file.read_text(), file.name, naming, lambda _: None)
    assert [draft.name for draft in done.drafts] == ["tone", "tone-onnx"]
    assert {draft.namespace for draft in done.drafts} == {"team-a"}
    assert spec(done, "source.fineTuneJobRef.name", 1) == "tone"


def test_a_namespace_of_the_configuration_stays() -> None:
    assert converted("kubeflow-trainjob.yaml").drafts[0].namespace == "team-a"


@pytest.mark.parametrize("name", ["trl-sft.yaml", "kubeflow-pytorchjob.yaml"])
def test_no_secret_is_shown(name: str) -> None:
    done = converted(name)
    assert "hf_abcdefghijklmnop" not in done.yaml + json.dumps(done.to_json())


def test_comments_say_what_differs() -> None:
    text = converted("axolotl-lora.yaml").yaml
    assert text.startswith("# Converted from Axolotl (axolotl-lora.yaml)")
    assert "#   training.evalEverySteps" in text or "set training.evalEverySteps" in text
    assert "# FILL IN (output_dir: ./outputs/instruct-lora): your bucket" in text
    assert "    # datasets[0].type: alpaca: Axolotl writes a prompt of its own" in text


def test_the_program() -> None:
    file = str(CONFIGS / "axolotl-lora.yaml")
    done = luthier("convert", file)
    assert done.returncode == 0
    assert load_documents(done.stdout)[0].value["kind"] == "FineTuneJob"
    assert "evals_per_epoch: 4 → can't be said: steps are counted here" in done.stderr
    assert "lora_r" not in done.stderr
    assert "lora_r: 16 → method.lora.rank" in luthier("convert", file, "--explain").stderr


def test_of_several_manifests_the_kind_is_told() -> None:
    done = luthier("convert", str(CONFIGS / "olive-qlora.json"))
    for kind in ("FineTuneJob", "OptimizeJob"):
        assert f"output_dir: models/codes → {kind} output.uri (fill in)" in done.stderr


def test_strict() -> None:
    done = luthier("convert", str(CONFIGS / "axolotl-lora.yaml"), "--strict")
    assert done.returncode == 1
    assert load_documents(done.stdout)
    assert luthier("convert", str(CONFIGS / "openai-job.json"), "--strict").returncode == 0


def test_json(tmp_path: Any) -> None:
    file = tmp_path / "manifest.yaml"
    done = luthier("convert", str(CONFIGS / "olive-qlora.json"), "-o", "json", "--write", str(file))
    document = json.loads(done.stdout)
    assert document["from"] == "olive"
    assert [it["kind"] for it in document["manifests"]] == ["FineTuneJob", "OptimizeJob"]
    assert document["yaml"] == file.read_text()
    fates = {it["field"]: it["fate"] for it in document["fields"]}
    assert fates["passes.tuning"] == "can't be said"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no configuration"),
        ("- a\n", "holds no configuration"),
        ("a: 1\n", "can't tell which tool"),
        ("{", "neither JSON nor YAML"),
        ("a: [\n", "line"),
        ("a: 1\n---\nb: 2\n", "several documents"),
        ("[" * 4000, "nested"),
        ('{"a":' * 100_000, "nested|neither"),
    ],
)
def test_what_is_no_configuration(text: str, said: str) -> None:
    with pytest.raises(CliError, match=said) as refused:
        convert_text(text, "file", Naming(), lambda _: None)
    assert refused.value.code is Exit.TROUBLE


def test_each_tool_can_be_named() -> None:
    assert [it.value for it in Tool] == list(SOURCES)


def test_wrong_options() -> None:
    file = str(CONFIGS / "axolotl-lora.yaml")
    done = luthier("convert", file, "--from", "torchtune")
    assert done.returncode == 2
    assert "'olive', 'axolotl'" in done.stderr
    assert luthier("convert", file, "--name", "Tone_Bot").returncode == 2
    assert luthier("convert", "nowhere.yaml").returncode == 2
