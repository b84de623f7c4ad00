"""The arguments of transformers' Trainer, which most tools take: 4.x's names and 5.x's."""

from typing import Any, get_args

from luthier_api.training import Training
from luthier_cli.convert import sharing, trackers
from luthier_cli.convert.mapping import (
    Field,
    Group,
    Rule,
    Said,
    UnsaidError,
    group,
    lost,
    moot,
    several,
    to,
)
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
)

SCHEDULERS = {name: name for name in get_args(Training.model_fields["scheduler"].annotation)}
BY_STEPS = "steps are counted here, not epochs: set training.{}"
RESULT = "results go to S3, each revision into a folder of its own"
NO_HUB = "results go to S3, and nowhere else"
KERNEL = "it makes a step cheaper, and no other; the trainer chooses its own"
BY_ITSELF = "the trainer does so by itself, or needn't"
WATCHED = "curves, metrics and TensorBoard's files lie with every result"
GOES_ON = "a run goes on from its last checkpoint by itself"
LOADED = "how rows are loaded shapes no result"
PROCESSES = "processes are placed by placement.gpus and placement.nodes"


def length(
    steps: str = "max_steps",
    epochs: str = "num_train_epochs",
    warm: str = "warmup_steps",
    ratio: str = "warmup_ratio",
    usual: float = 3,
) -> Rule:
    """How long to train, and for how much of it the rate rises."""

    def rule(it: Group) -> None:
        longest = it.get(steps)
        if longest is not None and longest not in (-1, 0):
            longest = it.read("training.maxSteps", steps, whole)
            it.moot(epochs, f"{steps} comes first")
        else:
            it.moot(steps, "it isn't set")
            longest = None
        if longest is None and it.read("training.epochs", epochs, _above_nothing) is None:
            it.put("training.epochs", usual, fate=Fate.DEFAULT, why="how long to train")
        _warm_up(it, warm, ratio, longest)

    return rule


def _above_nothing(value: Any) -> float:
    found = number(value)
    if found <= 0:
        raise UnsaidError("it isn't above 0")
    return found


def _warm_up(it: Group, warm: str, ratio: str, longest: int | None) -> None:
    def of_steps(value: Any) -> Any:
        found = number(value)
        if found <= 0:
            return Said(None, "there is none", Fate.MOOT)
        if found < 1:
            return found  # transformers 5: a share
        if longest is None:
            raise UnsaidError("it is a share of all steps here: set training.warmupRatio")
        return Said(_short(found / longest), f"a share of the {longest} steps")

    it.read("training.warmupRatio", ratio, lambda value: number(value) or None)
    it.read("training.warmupRatio", warm, of_steps)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def precision(it: Group) -> None:
    """bf16 and fp16, which exclude each other."""
    if is_on(it.get("fp16")):
        it.put("training.precision", "fp16", "fp16")
        it.rest("fp16 is on")
    elif is_on(it.get("bf16")):
        it.put("training.precision", "bf16", "bf16")
        it.rest("bf16 is on")
    elif it.get("bf16") == "auto":
        it.put("training.precision", "auto", "bf16")
        it.rest("the precision is chosen by the hardware")
    elif it.get("bf16") is not None and it.get("fp16") is not None:
        it.put("training.precision", "fp32", "bf16")
        it.same("fp16", "training.precision")
    it.rest("it is off")


def evaluations(
    strategies: tuple[str, ...] = ("eval_strategy", "evaluation_strategy"), *, implied: bool = False
) -> Rule:
    """When it is evaluated, and what comes of that. `implied`: eval_steps are enough to ask."""

    def rule(it: Group) -> None:
        named = next((name for name in strategies if it.get(name) is not None), "")
        strategy = str(it.get(named)).lower() if named else ""
        on = strategy == "steps" or (implied and not named)
        if strategy == "epoch":
            it.lost(named, BY_STEPS.format("evalEverySteps"))
        elif strategy and strategy not in ("no", "steps", "false"):
            it.lost(named, "there is no such choice here")
        for name in strategies:
            it.moot(name, "said by training.evalEverySteps") if it.get(name) else None
        every = it.get("eval_steps")
        if on and every is not None:
            it.read(
                "training.evalEverySteps", "eval_steps", _steps(it.draft.get("training.maxSteps"))
            )
        elif on and named and it.get("logging_steps") is not None:
            usual = it.draft.get("training.logEverySteps")
            it.put("training.evalEverySteps", usual, named, "logging_steps says when")
        elif on and named:
            it.lost(named, BY_STEPS.format("evalEverySteps"))
        else:
            it.moot("eval_steps", "evaluation is off")
        _best(it)
        it.rest("evaluation is said by training.evalEverySteps")

    return rule


def _steps(longest: int | None) -> Any:
    """A reader of steps, which may be a share of all."""

    def read(value: Any) -> Any:
        found = number(value)
        if found <= 0:
            return Said(None, "it is off", Fate.MOOT)
        if found >= 1:
            return round(found)
        if longest is None:
            raise UnsaidError("steps are counted here, not a share of them")
        return Said(max(1, round(found * longest)), f"a share of the {longest} steps")

    return read


def _best(it: Group) -> None:
    patience, best = it.get("early_stopping_patience"), is_on(it.get("load_best_model_at_end"))
    if patience is not None:
        it.read("training.earlyStopping.patience", "early_stopping_patience", whole)
        it.read("training.earlyStopping.metric", "metric_for_best_model", _metric)
        it.moot("load_best_model_at_end", "the best weights are kept where training stops early")
        it.moot("greater_is_better", "it follows from the metric")
    elif best:
        it.lost("load_best_model_at_end", "the best weights are kept with training.earlyStopping")
        it.lost("metric_for_best_model", "it is training.earlyStopping's")
    it.moot("load_best_model_at_end", "it is off") if not best else None


def _metric(value: Any) -> str:
    name = text(value).removeprefix("eval_")
    return "eval_loss" if name == "loss" else name


def saving(it: Group) -> None:
    """When a state is saved to go on from."""
    strategy = str(it.get("save_strategy") or "steps").lower()
    if strategy == "epoch":
        it.lost("save_strategy", BY_STEPS.format("saveEverySteps"))
        it.moot("save_steps", "save_strategy is epoch")
    elif strategy == "steps":
        it.moot("save_strategy", "so it is here, too")
        it.read("training.saveEverySteps", "save_steps", _steps(it.draft.get("training.maxSteps")))
    it.rest("a run saves what it needs to go on, and always its result")


def scheduler(
    type_: str = "lr_scheduler_type", options: str = "lr_scheduler_kwargs", usual: str = "linear"
) -> Rule:
    """The course of the rate, with its options."""

    def rule(it: Group) -> None:
        known = choice(SCHEDULERS, "there is no such scheduler here")
        if it.get(type_) is None:
            it.put("training.scheduler", usual, type_, fate=Fate.DEFAULT)
        else:
            it.read("training.scheduler", type_, known)
        given = it.get(options)
        if given is None:
            return
        within = {"num_cycles": "cycles", "power": "power", "min_lr": "minLearningRate"}
        left = dict(table(given))
        for name, ours in within.items():
            if name in left:
                read = whole if ours == "cycles" else number
                _option(it, options, f"training.schedulerOptions.{ours}", read, left.pop(name))
        rate, share = it.draft.get("training.learningRate"), left.pop("min_lr_rate", None)
        if share is not None and isinstance(rate, int | float):
            least = lambda value: _short(number(value) * rate)  # noqa: E731
            _option(it, options, "training.schedulerOptions.minLearningRate", least, share)
        if left or not isinstance(given, dict):
            it.lost(options, f"no counterpart of {', '.join(left) or 'what is no mapping'}")
        it.same(options, "training.schedulerOptions")

    return rule


def _option(it: Group, options: str, target: str, read: Any, value: Any) -> None:
    try:
        it.put(target, read(value), options)
    except UnsaidError as reason:
        it.lost(options, str(reason))


def sampling(value: Any) -> bool:
    """train_sampling_strategy."""
    return bool(choice({"group_by_length": True, "random": False})(value))


def by_memory(value: Any) -> Any:
    """auto_find_batch_size."""
    return "auto" if flag(value) else None


def on_cpu(value: Any) -> Any:
    """use_cpu."""
    return 0 if flag(value) else None


def output(value: Any) -> Said:
    """A folder of that machine."""
    uri = value if isinstance(value, str) and value.startswith("s3://") else "s3://artifacts/models"
    fate = Fate.SAME if uri == value else Fate.FILL
    return Said(uri, "your bucket; each revision has a folder of its own there", fate)


_LENGTH, _EVALUATIONS, _SCHEDULER = length(), evaluations(), scheduler()
_LONG = ("training.maxSteps", "training.epochs", "training.warmupRatio")
_STOP = ("training.earlyStopping.patience", "training.earlyStopping.metric")
_COURSE = (
    "training.scheduler",
    "training.schedulerOptions.cycles",
    "training.schedulerOptions.power",
    "training.schedulerOptions.minLearningRate",
)

# What means the same in each tool that takes it.
COMMON: dict[str, Field] = {
    "learning_rate": to("training.learningRate", number, default=5e-5),
    "weight_decay": to("training.weightDecay", number),
    "max_grad_norm": to("training.maxGradNorm", number),
    "gradient_accumulation_steps": to("training.gradientAccumulationSteps", whole),
    "gradient_checkpointing": to("training.gradientCheckpointing", always),
    "auto_find_batch_size": to("training.perDeviceBatchSize", by_memory),
    "neftune_noise_alpha": to("training.neftuneNoiseAlpha", number),
    "dataloader_num_workers": to("training.dataloaderWorkers", whole),
    "seed": to("training.seed", whole),
    "logging_steps": to("training.logEverySteps", lambda value: max(1, round(number(value)))),
    "save_total_limit": to("checkpoints.keepLast", whole),
    "output_dir": to("output.uri", output),
    "group_by_length": to("training.groupByLength", flag),
    "trust_remote_code": to("model.trustRemoteCode", lambda value: flag(value) or None),
    "hub_token": lost("a Secret holds it: model.tokenSecretRef"),
    "data_seed": lost("one seed decides the order of rows, too: training.seed"),
    "adam_beta1": lost("optimisers have transformers' defaults", 0.9),
    "adam_beta2": lost("optimisers have transformers' defaults", 0.999),
    "adam_epsilon": lost("optimisers have transformers' defaults", 1e-8),
    **several("optim_args optim_target_modules", lost("optimisers have transformers' defaults")),
    **several(sharing.NAMES, group(sharing.shared, sharing.TARGET)),
    "parallelism_config": lost(sharing.BY_PARTS),
    **several(
        "push_to_hub hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision",
        lost(NO_HUB),
    ),
    **several(
        "ddp_backend ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph "
        "ddp_find_unused_parameters local_rank log_on_each_node save_on_each_node "
        "accelerator_config average_tokens_across_devices",
        moot(PROCESSES),
    ),
    **several(
        "dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context dataloader_in_order",
        moot(LOADED),
    ),
    "dataloader_drop_last": lost("every row of an epoch is learnt from"),
    **several(
        "tf32 torch_compile torch_compile_backend torch_compile_mode use_liger_kernel "
        "liger_kernel_config gradient_checkpointing_kwargs torch_empty_cache_steps use_cache "
        "activation_offloading",
        moot(KERNEL),
    ),
    **several("resume_from_checkpoint ignore_data_skip save_only_model", moot(GOES_ON)),
    **several(
        "remove_unused_columns label_names include_num_input_tokens_seen length_column_name "
        "include_tokens_per_second prediction_loss_only skip_memory_metrics full_determinism "
        "include_for_metrics batch_eval_metrics eval_accumulation_steps eval_do_concat_batches "
        "eval_use_gather_object enable_jit_checkpoint restore_callback_states_from_checkpoint",
        moot(BY_ITSELF),
    ),
}

TRAINING_ARGUMENTS: dict[str, Field] = {
    **COMMON,
    **several("max_steps num_train_epochs warmup_steps warmup_ratio", group(_LENGTH, *_LONG)),
    **several("lr_scheduler_type lr_scheduler_kwargs", group(_SCHEDULER, *_COURSE)),
    "optim": to("training.optimizer", text),
    "per_device_train_batch_size": to("training.perDeviceBatchSize", whole),
    "per_device_eval_batch_size": to("evaluation.batchSize", whole),
    **several(
        "per_gpu_train_batch_size per_gpu_eval_batch_size", lost("deprecated: per_device_… says it")
    ),
    "train_sampling_strategy": to("training.groupByLength", sampling),
    "label_smoothing_factor": to("training.labelSmoothing", number),
    **several("bf16 fp16", group(precision, "training.precision")),
    **several(
        "bf16_full_eval fp16_full_eval half_precision_backend fp16_opt_level fp16_backend",
        moot("training.precision says it"),
    ),
    **several(
        "eval_strategy evaluation_strategy eval_steps load_best_model_at_end "
        "metric_for_best_model greater_is_better early_stopping_patience",
        group(_EVALUATIONS, "training.evalEverySteps", *_STOP),
    ),
    **several("eval_delay eval_on_start", lost("evaluations come at every evalEverySteps")),
    **several("save_strategy save_steps", group(saving, "training.saveEverySteps")),
    "report_to": group(trackers.reported, *trackers.TARGETS),
    "use_cpu": to("placement.gpus", on_cpu),
    "no_cuda": to("placement.gpus", on_cpu),
    "run_name": moot("metadata.name is the run's name"),
    **several("overwrite_output_dir save_safetensors", moot(RESULT)),
    **several(
        "logging_dir logging_strategy logging_first_step logging_nan_inf_filter log_level "
        "log_level_replica disable_tqdm project trackio_space_id trackio_bucket_id "
        "trackio_static_space_id",
        moot(WATCHED),
    ),
    **several("do_train do_eval do_predict", moot("a run trains, and evaluates what it was given")),
    **several("activation_checkpointing activation_checkpointing_kwargs", moot(KERNEL)),
    **several("debug use_mps_device use_ipex jit_mode_eval", moot(BY_ITSELF)),
}
