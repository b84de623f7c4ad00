"""Kubeflow's TrainJob of an LLM's runtime, which is torchtune's."""

from collections.abc import Mapping
from typing import Any

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.convert import kubeflow_older, places
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import (
    Field,
    Group,
    Said,
    UnsaidError,
    group,
    lost,
    moot,
    several,
    to,
    walk,
)
from luthier_cli.convert.places import resource_name
from luthier_cli.convert.source import Beside, RefusedError, Source, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import (
    always,
    choice,
    flag,
    is_on,
    number,
    table,
    text,
    whole,
    words,
)
from luthier_cli.yaml import YamlError, load_value

_RUNTIMES = {
    "torchtune-llama3.2-1b": "hf://meta-llama/Llama-3.2-1B-Instruct",
    "torchtune-llama3.2-3b": "hf://meta-llama/Llama-3.2-3B-Instruct",
    "torchtune-qwen2.5-1.5b": "hf://Qwen/Qwen2.5-1.5B-Instruct",
}
_DATA = "hf://tatsu-lab/alpaca"
_QUEUE, _PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
_PRECISIONS = choice({"bf16": "bf16", "fp32": "fp32", "fp16": "fp16"}, "it is fp32, bf16 or fp16")


def method(it: Group) -> None:
    """LoRA where modules are named, QLoRA on a base in 4 bits, else all weights."""
    modules = it.get("model.lora_attn_modules")
    dora = is_on(it.get("model.use_dora"))
    if modules is None:
        it.put(
            "method.type", "full", why="torchtune trains all weights unless told", fate=Fate.DIFFERS
        )
        it.rest("the method is full")
        return
    kind = "qlora" if is_on(it.get("model.quantize_base")) and not dora else "lora"
    it.put("method.type", kind, "model.lora_attn_modules")
    it.same("model.quantize_base", "method.type")
    mlp = ["gate_proj", "up_proj", "down_proj"] if is_on(it.get("model.apply_lora_to_mlp")) else []

    def named(value: Any) -> list[str]:
        plain = [name.replace("output_proj", "o_proj") for name in words(value)]
        return [*plain, *mlp]

    it.read("method.lora.targetModules", "model.lora_attn_modules", named)
    it.same("model.apply_lora_to_mlp", "method.lora.targetModules")
    if is_on(it.get("model.apply_lora_to_output")):
        it.lost("model.apply_lora_to_output", "the output layer gets no update")
    it.rest("it is off")


def columns(it: Group) -> None:
    """The rows, by torchtune's kinds of datasets."""
    kind = str(it.get("dataset") or "").rpartition(".")[2]
    if kind == "chat_dataset":
        column = it.get("dataset.conversation_column")
        it.put("dataset.columns", {"messages": str(column or "messages")}, "dataset")
    else:
        found = {
            "instruction": it.get("dataset.column_map.input") or "instruction",
            "output": it.get("dataset.column_map.output") or "output",
        }
        if not it.get("dataset.column_map.input"):
            found = {"instruction": "instruction", "input": "input", "output": found["output"]}
        why = (
            "" if it.get("dataset.column_map.input") else "Alpaca's columns, unless a map is given"
        )
        it.put(
            "dataset.columns",
            {key: str(name) for key, name in found.items()},
            "dataset" if it.get("dataset") else "",
            why,
            fate=Fate.DIFFERS if why else Fate.SAME,
        )
    it.rest("dataset.columns says it")


ARGUMENTS: dict[str, Field] = {
    "epochs": to("training.epochs", number, default=1),
    "batch_size": to("training.perDeviceBatchSize", whole),
    "gradient_accumulation_steps": to("training.gradientAccumulationSteps", whole),
    "max_steps_per_epoch": lost("training.maxSteps counts all steps"),
    "seed": to("training.seed", whole),
    "dtype": to("training.precision", _PRECISIONS),
    "optimizer.lr": to("training.learningRate", number),
    "optimizer.weight_decay": to("training.weightDecay", number),
    **several(
        "optimizer optimizer._component_ optimizer.fused lr_scheduler._component_ "
        "lr_scheduler.num_warmup_steps loss loss._component_",
        lost("training.optimizer, scheduler and loss have names of their own"),
    ),
    "clip_grad_norm": to("training.maxGradNorm", number),
    "enable_activation_checkpointing": to("training.gradientCheckpointing", always),
    "tokenizer.max_seq_len": to("training.maxLength", whole),
    "dataset.packed": to("training.packing", lambda value: "Always" if flag(value) else None),
    "dataset.split": to("dataset.train", lambda value: None if value == "train" else text(value)),
    "dataset.train_on_input": to(
        "dataset.lossOn", lambda value: "All" if flag(value) else "Completion"
    ),
    "dataset.new_system_prompt": lost("a row says its own system message"),
    **several(
        "dataset dataset._component_ dataset.column_map.input dataset.column_map.output "
        "dataset.conversation_column dataset.conversation_style",
        group(columns, "dataset.columns"),
    ),
    **several("dataset.source dataset.data_dir dataset.data_files", moot("dataset.uri says it")),
    **several(
        "model.lora_attn_modules model.quantize_base model.apply_lora_to_mlp "
        "model.apply_lora_to_output",
        group(method, "method.type", "method.lora.targetModules"),
    ),
    "model.lora_rank": to("method.lora.rank", whole),
    "model.lora_alpha": to("method.lora.alpha", number),
    "model.lora_dropout": to("method.lora.dropout", number),
    "model.use_dora": to("method.lora.dora", flag),
    **several(
        "compile enable_activation_offloading output_dir tokenizer.path "
        "resume_from_checkpoint "
        "tokenizer.merges_file checkpointer.checkpoint_dir log_every_n_steps device "
        "optimizer_in_bwd model._component_ tokenizer._component_ "
        "checkpointer._component_ metric_logger._component_ metric_logger.log_dir",
        moot(arguments.BY_ITSELF),
    ),
}


def resources(it: Group) -> None:
    """GPUs of a node."""
    given = table(it.get("resourcesPerNode"))
    amounts = {**table(given.get("requests")), **table(given.get("limits"))}
    gpus = next((amount for name, amount in amounts.items() if name.endswith("/gpu")), None)
    processes = it.get("numProcPerNode")
    if gpus is not None:
        it.read("placement.gpus", "resourcesPerNode", lambda _: whole(gpus))
    elif isinstance(processes, int):
        it.read("placement.gpus", "numProcPerNode", whole)
    it.rest("CPU and memory are the pool's; each GPU has a process")


def secret(value: Any) -> Any:
    """The Secret with a hub's token."""
    name = table(value).get("name")
    if not isinstance(name, str):
        raise UnsaidError("it names no Secret")
    return Said({"name": name, "key": "ACCESS_TOKEN"}, "the Secret's key with the token", Fate.FILL)


TRAINER: dict[str, Field] = {
    "numNodes": to("placement.nodes", whole),
    **several("resourcesPerNode numProcPerNode", group(resources, "placement.gpus")),
    "args": moot("each is told by itself"),
    **several("image command", lost("the trainer's image and program are the platform's")),
    "env": lost("no variables of yours reach the trainer"),
}
SPEC: dict[str, Field] = {
    **several("runtimeRef initializer trainer", moot("each of its fields is told by itself")),
    "suspend": to("suspend", flag),
    "activeDeadlineSeconds": to("limits.activeDeadlineSeconds", whole),
    **several(
        "runtimePatches podTemplateOverrides podSpecOverrides labels annotations",
        lost("pods are placement.pool's: nodes, tolerations, volumes"),
    ),
    "managedBy": lost("the operator itself runs it"),
}
INITIALIZER: dict[str, Field] = {
    "model.storageUri": to("model.uri", places.model),
    "dataset.storageUri": to("dataset.uri", places.dataset),
    "model.secretRef": to("model.tokenSecretRef", secret),
    "dataset.secretRef": lost("one token is for model and data: model.tokenSecretRef"),
    **several("model.env dataset.env", lost("no variables of yours reach the trainer")),
}


def convert(given: dict[str, Any], _: Beside) -> list[Draft]:
    """A FineTuneJob."""
    metadata = table(given.get("metadata"))
    name = metadata.get("name") or metadata.get("generateName")
    namespace = metadata.get("namespace")
    draft = Draft(FINE_TUNE_JOB, resource_name(name if isinstance(name, str) else ""))
    if isinstance(namespace, str) and resource_name(namespace) == namespace:
        draft.namespace = namespace
    draft.put("task", "generation", fate=Fate.DEFAULT)
    _metadata(draft, metadata)
    kind = given.get("kind")
    if kind == "TrainJob":
        _train_job(draft, table(given.get("spec")))
    elif kind == "PyTorchJob":
        kubeflow_older.read(draft, table(given.get("spec")))
    else:
        raise RefusedError(f"{kind} isn't converted", "TrainJob and PyTorchJob of train() are")
    for field in given.keys() - {"apiVersion", "kind", "metadata", "spec"}:
        if field == "status":
            draft.moot(field, given[field], "it tells of that run")
        else:
            draft.tell(field, given[field], Fate.UNKNOWN, why="no field that this command knows")
    on_gpu(draft)
    return [draft]


def _metadata(draft: Draft, metadata: Mapping[str, Any]) -> None:
    labels = table(metadata.get("labels"))
    for label, target in ((_QUEUE, "placement.queueName"), (_PRIORITY, "placement.priority")):
        if isinstance(labels.get(label), str):
            draft.put(target, labels[label], f"metadata.labels.{label}", labels[label])
    for field, given in (("labels", labels), ("annotations", table(metadata.get("annotations")))):
        left = [key for key in given if key not in (_QUEUE, _PRIORITY)]
        if left:
            draft.lost(
                f"metadata.{field}", left, f"write them into the manifest's metadata.{field}"
            )


def _train_job(draft: Draft, spec: Mapping[str, Any]) -> None:
    runtime = str(table(spec.get("runtimeRef")).get("name") or "")
    trainer, initializer = table(spec.get("trainer")), table(spec.get("initializer"))
    if not runtime.startswith("torchtune") and not initializer:
        raise RefusedError(
            f"the runtime {runtime or '(none)'} runs a program whose training isn't known",
            "of an LLM's runtimes (torchtune-…) TrainJobs are converted; others are scripts",
        )
    walk(SPEC, spec, draft, "spec.")
    flat = {
        f"{part}.{name}": value
        for part, entry in initializer.items()
        for name, value in table(entry).items()
    }
    walk(INITIALIZER, flat, draft, "spec.initializer.")
    if draft.get("model.uri") is None and runtime.lower() in _RUNTIMES:
        draft.put("model.uri", _RUNTIMES[runtime.lower()], "spec.runtimeRef.name", runtime)
    if draft.get("dataset.uri") is None and runtime.lower() in _RUNTIMES:
        draft.put("dataset.uri", _DATA, "spec.runtimeRef.name", runtime)
    walk(TRAINER, trainer, draft, "spec.trainer.")
    given, others = _assigned(trainer.get("args"))
    walk(ARGUMENTS, given, draft, "spec.trainer.args: ")
    for word in others:
        draft.moot(
            "spec.trainer.args", word, "recipe and processes follow from method and placement"
        )


def _assigned(args: Any) -> tuple[dict[str, Any], list[str]]:
    """key=value of torchtune, whose values are YAML; and other words."""
    given, others = {}, []
    for word in args if isinstance(args, list) else []:
        key, equals, value = str(word).partition("=")
        if not equals or key.startswith("-"):
            others.append(str(word))
            continue
        try:
            given[key] = load_value(value)
        except YamlError:
            given[key] = value
    return given, others


SOURCE = Source(
    "kubeflow",
    "Kubeflow",
    {
        "FineTuneJob": {
            "spec.": SPEC,
            "spec.initializer.": INITIALIZER,
            "spec.trainer.": TRAINER,
            "spec.trainer.args: ": ARGUMENTS,
            "--": kubeflow_older.FIELDS,
            "--lora_config.": kubeflow_older.LORA,
            "--training_parameters.": arguments.TRAINING_ARGUMENTS,
            "": several("apiVersion kind metadata spec status", moot("told by itself")),
        }
    },
    convert,
    marks=("kind",),
)
