"""Olive's passes that train: LoRA and its kin, their data, the Trainer's arguments, a search."""

from collections.abc import Mapping
from typing import Any

from luthier_cli.convert import lora, olive_data
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import (
    Field,
    UnsaidError,
    group,
    lost,
    moot,
    several,
    to,
    walk,
)
from luthier_cli.convert.olive_passes import Pass
from luthier_cli.convert.source import RefusedError
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import always, choice, flag, number, table, whole, words

TYPES = ("lora", "qlora", "dora", "loftq", "loha", "lokr")
_METHODS = {"lora": "lora", "dora": "lora", "qlora": "qlora", "loftq": "qlora"}
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_COMPUTED = choice(_PRECISIONS, "it is fp32, bf16 or fp16 here")
# Numbers of a pass that are searched, by their path in a search.
_SEARCHED = {
    "r": "lora.rank",
    "lora_r": "lora.rank",
    "alpha": "lora.alpha",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
}
_USUAL = {"r": [16, 32, 64], "lora_r": [16, 32, 64]}
_STRATEGIES = {"random": "random", "tpe": "tpe", "exhaustive": "grid", "sequential": "grid"}

_LENGTH = arguments.length()
_SCHEDULER = arguments.scheduler(usual="constant")
ARGUMENTS: dict[str, Field] = {
    **arguments.TRAINING_ARGUMENTS,
    "learning_rate": to("training.learningRate", number, default=2e-4),
    "per_device_train_batch_size": to("training.perDeviceBatchSize", whole, default=8),
    "gradient_checkpointing": to("training.gradientCheckpointing", always),
    **several(
        "lr_scheduler_type lr_scheduler_kwargs",
        group(
            _SCHEDULER,
            "training.scheduler",
            "training.schedulerOptions.cycles",
            "training.schedulerOptions.power",
            "training.schedulerOptions.minLearningRate",
        ),
    ),
    "output_dir": moot("checkpoints lie with the result"),
    "use_module_with_loss": moot(arguments.KERNEL),
    "extra_args": moot("each is told by itself"),
    **several("bf16 fp16", moot("torch_dtype says it")),
}
FIELDS: dict[str, Field] = {
    **several("r lora_r", to("method.lora.rank", whole)),
    **several("alpha lora_alpha", to("method.lora.alpha", number)),
    "lora_dropout": to("method.lora.dropout", number),
    **several("target_modules lora_target_modules", to("method.lora.targetModules", lora.modules)),
    "modules_to_save": to("method.lora.modulesToSave", words),
    "bias": to("method.lora.bias"),
    "torch_dtype": to("training.precision", _COMPUTED),
    "compute_dtype": to("method.quantization.computeType", _COMPUTED),
    "quant_type": to("method.quantization.type"),
    "double_quant": to("method.quantization.double", flag),
    "loftq_iter": lost(lora.INITIALISED),
    **several(
        "rank_dropout module_dropout use_effective_conv2d decompose_both decompose_factor "
        "rank_dropout_scale exclude_modules init_weights",
        lost("it is of LoHa and LoKr, which aren't methods here"),
    ),
    **several(
        "device_map allow_tf32 ephemeral_gpu_offload use_ort_trainer ortmodule_onnx_opset "
        "save_quant_config user_script script_dir trust_remote_code",
        moot(arguments.KERNEL),
    ),
    **several(
        "train_data_config eval_data_config training_args eval_dataset_size", moot("told by itself")
    ),
}
TABLES = {"passes.lora.": FIELDS, "passes.lora.training_args.": ARGUMENTS}
# What a pass has where it says nothing.
_DEFAULTS = (("method.lora.rank", 64), ("method.lora.alpha", 16), ("method.lora.dropout", 0.05))


def tune(draft: Draft, it: Pass, configs: Mapping[str, Any]) -> None:
    """The method, the training and the data of a pass."""
    if it.type not in _METHODS:
        raise RefusedError(f"{it.given_type} is no method here", "use LoRA, QLoRA or DoRA")
    where = f"passes.{it.name}."
    draft.put("method.type", _METHODS[it.type], f"passes.{it.name}", it.given_type)
    if it.type == "dora":
        draft.put("method.lora.dora", True, f"passes.{it.name}", it.given_type)
    if it.type == "loftq":
        draft.lost(f"passes.{it.name}", it.given_type, lora.INITIALISED)
    plain = {key: value for key, value in it.config.items() if key not in _found(it)}
    walk(FIELDS, plain, draft, where)
    if it.type == "qlora" and plain.get("double_quant") is None:
        draft.put("method.quantization.double", False, f"{where}double_quant", fate=Fate.DEFAULT)
    for target, value in _DEFAULTS:
        if draft.get(target) is None:
            name = {"rank": "r", "alpha": "alpha", "dropout": "lora_dropout"}[
                target.rpartition(".")[2]
            ]
            draft.put(target, value, f"{where}{name}", fate=Fate.DEFAULT)
    if draft.get("training.precision") is None and plain.get("compute_dtype") is None:
        draft.put("training.precision", "bf16", f"{where}torch_dtype", fate=Fate.DEFAULT)
    given = table(it.config.get("training_args"))
    given = {**given, **table(given.get("extra_args"))}
    given.pop("extra_args", None)
    olive_data.train(draft, it, configs)
    walk(ARGUMENTS, given, draft, f"{where}training_args.")
    _held_out(draft, it, where)


def _held_out(draft: Draft, it: Pass, where: str) -> None:
    size = it.config.get("eval_dataset_size")
    if size is None or draft.get("dataset.eval"):
        return
    try:
        found = number(size)
    except UnsaidError as reason:
        draft.lost(f"{where}eval_dataset_size", size, str(reason))
        return
    split = str(draft.get("dataset.train") or "train")
    if 0 < found < 1:
        draft.put("dataset.evalFraction", found, f"{where}eval_dataset_size", size)
    elif found >= 1 and "[" not in split:
        why = "the last rows, in their order"
        rows = round(found)
        draft.put(
            "dataset.train",
            f"{split}[:-{rows}]",
            f"{where}eval_dataset_size",
            size,
            fate=Fate.DIFFERS,
            why=why,
        )
        draft.put(
            "dataset.eval",
            f"{split}[-{rows}:]",
            f"{where}eval_dataset_size",
            size,
            fate=Fate.DIFFERS,
            why=why,
        )
    else:
        draft.lost(f"{where}eval_dataset_size", size, "set dataset.eval to a slice")


def _found(it: Pass) -> dict[str, list[float]]:
    """Options of a pass that are searched, and their values."""
    found: dict[str, list[float]] = {}
    for name in _SEARCHED:
        value = it.config.get(name)
        support = value.get("support") if isinstance(value, dict) else value
        if value in ("SEARCHABLE_VALUES", "DEFAULT_SEARCH"):
            support = _USUAL.get(name)
        if (
            isinstance(support, list)
            and support
            and all(isinstance(v, int | float) and not isinstance(v, bool) for v in support)
        ):
            found[name] = support
    return found


def search(draft: Draft, it: Pass, strategy: Any) -> None:
    """The options that are searched, and how."""
    found = _found(it)
    where = f"passes.{it.name}."
    given = table(strategy)
    if not found:
        if given:
            draft.moot("search_strategy", strategy, "nothing that is trained is searched")
        return
    sampler = str(given.get("sampler") or given.get("search_algorithm") or "random").lower()
    inner = table(given.get("sampler_config") or given.get("search_algorithm_config"))
    options = {**given, **inner}
    draft.put(
        "search.strategy",
        _STRATEGIES.get(sampler, "random"),
        "search_strategy",
        strategy or sampler,
    )
    trials = options.get("max_samples") or options.get("num_samples")
    if isinstance(trials, int) and trials > 0:
        draft.put("search.trials", trials, "search_strategy.max_samples", trials)
    if isinstance(options.get("seed"), int):
        draft.put("search.seed", options["seed"], "search_strategy.seed", options["seed"])
    draft.put(
        "search.objective",
        {"metric": "eval_loss", "direction": "minimize"},
        "search_strategy",
        fate=Fate.DIFFERS,
        why="what makes a trial the best: eval_loss, or an evaluation metric",
    )
    for name, values in found.items():
        space = draft.get("search.space") or {}
        space[_SEARCHED[name]] = {"type": "choice", "values": values}
        draft.put("search.space", space, where + name, values)
    for name in ("max_iter", "max_time", "stop_when_goals_met", "output_model_num"):
        if given.get(name):
            draft.lost(
                f"search_strategy.{name}", given[name], "search.stopAfter and limits end a search"
            )
