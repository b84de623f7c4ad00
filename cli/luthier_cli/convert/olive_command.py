"""Commands of Olive, by their options: docs/olive.md tells them one by one."""

from collections.abc import Mapping
from typing import Any

from luthier_api.kinds import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB
from luthier_cli.convert import lora, places
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import (
    Field,
    Group,
    Said,
    group,
    lost,
    moot,
    several,
    to,
    walk,
)  # fmt: skip
from luthier_cli.convert.olive import TASKS
from luthier_cli.convert.olive_tuning import ARGUMENTS
from luthier_cli.convert.source import RefusedError, named, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import choice, is_on, number, of_texts, text, whole

SHORT = {"-m": "model_name_or_path", "-t": "task", "-a": "adapter_path", "-o": "output_path",
         "-d": "data_name", "-f": "format"}  # fmt: skip
_PRECISIONS = {it: it for it in ("fp32", "fp16", "bf16", "int8", "int4")} | {
    "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"
}  # fmt: skip
_TASK = choice(TASKS, "no such task is learnt here")
_CALIBRATED = "weights are rounded as they are, without calibration"
_FOLLOWS = "it follows from the model"


def _slice(it: Group) -> None:
    """The dataset, its split, and how many of its rows."""
    name, files = it.get("data_name"), it.get("data_files")
    listed = files.split(",") if isinstance(files, str) else files
    if name is None and files is not None:
        name, listed = (listed[0] if isinstance(listed, list) else listed), None
    if name is not None:
        used = "data_name" if it.get("data_name") is not None else "data_files"
        it.read("dataset.uri", used, lambda _: places.dataset(name, listed, it.get("train_subset")))
    if isinstance(listed, list) and len(listed) > 1:
        it.lost("data_files", "one file, or a star: further ones go into dataset.mix")
    it.same("data_files", "dataset.uri")
    it.same("train_subset", "dataset.uri", "a subset is a folder of the dataset here")
    split = it.get("train_split") or "train"
    most = it.get("max_samples")
    if most is None:
        most = 256
    if isinstance(most, int) and most > 0 and isinstance(split, str) and "[" not in split:
        used = "max_samples" if it.get("max_samples") is not None else ""
        it.put(
            "dataset.train",
            f"{split}[:{most}]",
            used or "max_samples",
            "Olive learns from 256 rows unless told" if not used else "",
            fate=Fate.SAME if used else Fate.DIFFERS,
        )
    elif split != "train":
        it.read("dataset.train", "train_split", text)
    it.moot("train_split", "said by dataset.train")
    evaluated = it.get("eval_split")
    if evaluated:
        it.read("dataset.eval", "eval_split", text)
    it.lost("eval_subset", "rows to measure on come from the same dataset: dataset.eval")
    it.rest("it is off")


def _rows(it: Group) -> None:
    """How a row reads."""
    if it.get("text_template") is not None:
        it.read(
            "dataset.template",
            "text_template",
            lambda value: text(value).replace("\\n", "\n").replace("\\t", "\t"),
        )
    elif is_on(it.get("use_chat_template")):
        it.put("dataset.columns", {"messages": "messages"}, "use_chat_template")
    elif it.get("text_field") is not None:
        it.read("dataset.template", "text_field", lambda value: f"{{{text(value)}}}")
    else:
        it.put("dataset.template", "{text}", "text_field", fate=Fate.DEFAULT)
    it.rest("it is off")


_OF_EACH = {
    "output_path": to("output.uri", arguments.output),
    **several("model_script script_dir", lost("no code of yours loads a model")),
    "trust_remote_code": lost("models are those that transformers knows"),
    **several(
        "log_level save_config_file dry_run account_name container_name disable_telemetry "
        "test test_metrics test_llama_path telemetry cache_dir",
        moot("docs/olive.md says what stands for it"),
    ),
    "batch_size": moot("Olive's batch of loading: evaluation.batchSize is another"),
    "add_special_tokens": moot("the tokenizer is the model's own"),
    "input_cols": lost("columns are named by what they mean: dataset.columns"),
}
_DATA = group(_slice, "dataset.uri", "dataset.train", "dataset.eval")
_ROWS = group(_rows, "dataset.template", "dataset.columns")
FINETUNE: dict[str, Field] = {
    **ARGUMENTS,
    **_OF_EACH,
    "model_name_or_path": to("model.uri", places.model),
    "task": to("task", _TASK),
    "method": to("method.type", choice({"lora": "lora", "qlora": "qlora"}), default="lora"),
    "lora_r": to("method.lora.rank", whole, default=64),
    "lora_alpha": to("method.lora.alpha", number, default=16),
    "target_modules": to("method.lora.targetModules", lora.modules),
    "torch_dtype": to("training.precision", choice(_PRECISIONS), default="bf16"),
    **several(
        "data_name data_files train_subset train_split eval_subset eval_split max_samples", _DATA
    ),
    **several("text_field text_template use_chat_template", _ROWS),
    "max_seq_len": to("training.maxLength", whole),
}


def _target(it: Group) -> None:
    """--device and --provider."""
    provider = it.get("provider") or it.get("providers_list")
    listed = of_texts(provider)
    ours = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda",
            "DmlExecutionProvider": "dml"}  # fmt: skip
    device = str(it.get("device") or "cpu").lower()
    if listed and listed[0] in ours:
        it.put("target.provider", listed[0], "provider" if it.get("provider") else "providers_list")
        device = {"cpu": "cpu"}.get(ours[listed[0]], ours[listed[0]])
    elif listed:
        it.lost("provider", "packages are for the providers of CPU, CUDA and DML")
    if device == "npu":
        it.lost("device", "packages are for CPUs and GPUs")
    elif device in ("gpu", "cuda", "dml"):
        it.put("target.device", "cuda" if device == "gpu" else device, "device")
        it.draft.put("placement.gpus", 1, fate=Fate.DIFFERS, why="it is measured where it runs")
    it.rest("it is a CPU")


def _int4(it: Group) -> None:
    """--algorithm: of 4 bits."""
    value = str(it.get("algorithm") or "").lower()
    ours = {"rtn": "rtn", "kquant": "k_quant", "k_quant": "k_quant"}
    if value in ours and it.draft.get("precisions") == ["int4"]:
        it.put("int4.algorithm", ours[value], "algorithm")
    elif value and value not in ours:
        it.lost("algorithm", f"{_CALIBRATED}: int4.algorithm has others")
    it.rest("only int4 has a choice")


def _precision(usual: str) -> Field:
    return to(
        "precisions",
        lambda value: [choice(_PRECISIONS, "it is none of precisions")(value)],
        default=[usual],
    )


def _in_s3(value: Any) -> Any:
    name = text(value)
    if name.startswith("s3://"):
        return name
    return Said(
        f"s3://models/{places.last(name, 'ADAPTER')}", "the adapter's folder, in S3", Fate.FILL
    )


_PACKAGE: dict[str, Field] = {
    **_OF_EACH,
    "model_name_or_path": to("source.modelUri", places.model),
    "adapter_path": to("source.adapterUri", _in_s3),
    "task": moot(_FOLLOWS),
    **several(
        "device provider providers_list",
        group(_target, "target.device", "target.provider", "placement.gpus"),
    ),
    "algorithm": group(_int4, "int4.algorithm"),
    **several("block_size int4_block_size", to("int4.blockSize", whole)),
    **several(
        "use_dynamo_exporter use_model_builder use_ort_genai exporter torch_dtype "
        "conversion_device past_key_value_name target_opset fixed_param_dict modality "
        "int4_accuracy_level implementation",
        moot(_FOLLOWS),
    ),
    **several(
        "act_precision use_qdq_encoding use_qdq_format mixed_precision_overrides_config "
        "surgeries dim_param dim_value dynamic_to_fixed_shape_dim_param "
        "dynamic_to_fixed_shape_dim_value num_splits num_split cost_model memory enable_aot "
        "qnn_env_path extra_mb_options exclude_embeds exclude_lm_head enable_cuda_graph "
        "use_mobius_builder model_variant enable_search search_seed",
        lost("docs/olive.md says why"),
    ),
    **several(
        "data_name data_files split subset text_field text_template use_chat_template "
        "max_seq_len max_samples input_cols eval_split train_split",
        lost("rows that a package is measured on are evaluation.dataset; none calibrate it"),
    ),
}


PACKAGES: dict[str, dict[str, Field]] = {
    "optimize": {**_PACKAGE, "precision": _precision("fp32")},
    "auto-opt": {**_PACKAGE, "precision": _precision("fp32")},
    "quantize": {**_PACKAGE, "precision": _precision("int8")},
    "capture-onnx-graph": {**_PACKAGE, "precision": _precision("fp32")},
}


def _adapters(it: Group) -> None:
    """--adapter_path, one or several."""
    found = []
    for index, path in enumerate(of_texts(it.get("adapter_path"))):
        uri = _in_s3(path)
        said = uri.value if isinstance(uri, Said) else uri
        name = places.resource_name(places.last(path, "adapter"), f"adapter-{index}")
        found.append({"name": name, "uri": said})
    if found:
        it.put("adapters", found, "adapter_path", "their folders, in S3", fate=Fate.FILL)


BUNDLE: dict[str, Field] = {
    **_OF_EACH,
    "model_name_or_path": to("base.uri", places.model),
    "adapter_path": group(_adapters, "adapters"),
    "adapter_type": lost("only LoRA is switched at run time", "lora"),
    **several("adapter_format format", lost("adapters are .onnx_adapter files", "onnx_adapter")),
    "dtype": moot("it follows from the graph's inputs"),
    "quantize_int4": lost("adapters are small: precision is the base's"),
    **several(
        "int4_block_size int4_quantization_mode", lost("adapters are small: int4 is the base's")
    ),
}
COMMANDS: dict[str, tuple[Any, Mapping[str, Field]]] = {
    "finetune": (FINE_TUNE_JOB, FINETUNE),
    **{name: (OPTIMIZE_JOB, table) for name, table in PACKAGES.items()},
    **dict.fromkeys(
        ("generate-adapter", "convert-adapters", "extract-adapters"), (ADAPTER_BUNDLE, BUNDLE)
    ),
}


def convert(command: str, given: Mapping[str, Any], more: list[str]) -> list[Draft]:
    """The manifest of a command. Raises RefusedError."""
    if command not in COMMANDS:
        raise RefusedError(
            f"olive {command} has no counterpart here",
            f"docs/olive.md tells which have: {', '.join(COMMANDS)}, run",
        )
    kind, table = COMMANDS[command]
    draft = Draft(kind, named(given, "output_path", "model_name_or_path", "adapter_path"))
    walk(table, given, draft, "--")
    for word in more:
        draft.tell(word, None, Fate.UNKNOWN, why="no option stands before it")
    if kind is FINE_TUNE_JOB:
        draft.put("method.lora.dropout", 0.05, fate=Fate.DEFAULT)
        if draft.get("task") is None:
            draft.put("task", "generation", fate=Fate.DEFAULT)
        on_gpu(draft)
    return [draft]
