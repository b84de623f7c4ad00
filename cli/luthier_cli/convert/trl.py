"""TRL's YAML and arguments: `trl sft`, with its model's, its data's and the Trainer's."""

from typing import Any

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.convert import lora, places, preference
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import (
    Field,
    Group,
    Said,
    group,
    heard,
    lost,
    moot,
    several,
    to,
    walk,
)
from luthier_cli.convert.source import Beside, RefusedError, Source, named, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import (
    choice,
    flag,
    is_on,
    number,
    of_texts,
    table,
    text,
    whole,
    words,
)

# Which script a configuration is for, where nothing names one: fields that only it has.
_ONLY = {
    "grpo": ("num_generations", "reward_funcs", "epsilon_high"),
    "kto": ("desirable_weight", "undesirable_weight"),
    "dpo": ("precompute_ref_log_probs", "f_divergence_type", "beta", "ref_model_sync_steps"),
    "reward": ("center_rewards_coefficient",),
}
_OBJECTIVES = ("dpo", "kto", "orpo")
# The key that a command line's script stands under.
SCRIPT = "__script__"


def objective(given: dict[str, Any]) -> str:
    """The script: sft, dpo, …."""
    told = given.get(SCRIPT)
    return (
        str(told)
        if told
        else next(
            (name for name, fields in _ONLY.items() if any(it in given for it in fields)), "sft"
        )
    )


def method(it: Group) -> None:
    """use_peft, and the bits of the base."""
    if is_on(it.get("load_in_8bit")):
        it.lost("load_in_8bit", lora.EIGHT_BITS)
    if not is_on(it.get("use_peft")):
        it.put(
            "method.type",
            "full",
            "use_peft",
            "without use_peft all weights are trained",
            fate=Fate.DIFFERS,
        )
        if is_on(it.get("load_in_4bit")):
            it.lost("load_in_4bit", "a base in 4 bits is trained by qlora alone: set use_peft")
    elif is_on(it.get("load_in_4bit")):
        it.put("method.type", "qlora", "use_peft")
        it.same("load_in_4bit", "method.type")
    else:
        it.put("method.type", "lora", "use_peft")
    it.rest("it is off")


def precision(it: Group) -> None:
    """bf16, fp16 and the type of the weights."""
    arguments.precision(it)
    if it.draft.get("training.precision") is None:
        it.put("training.precision", "bf16", "bf16", fate=Fate.DEFAULT)


def dtype(value: Any) -> Any:
    """The type that weights are loaded in."""
    if str(value).lower() in ("float32", "auto", "bfloat16", "float16"):
        return Said(None, "frozen weights are held as training.precision has them", Fate.MOOT)
    return choice({}, "weights are loaded as fp32, bf16 or fp16")(value)


def data(it: Group) -> None:
    """The dataset, and how its rows read."""
    mixture = it.get("datasets")
    if isinstance(mixture, list) and mixture:
        _mixture(it, mixture)
    else:
        it.read(
            "dataset.uri",
            "dataset_name",
            lambda value: places.dataset(value, folder=it.get("dataset_config")),
        )
        it.same("dataset_config", "dataset.uri", "a subset is a folder of the dataset here")
        split = it.get("dataset_train_split")
        if split not in (None, "train"):
            it.read("dataset.train", "dataset_train_split", text)
        it.moot("dataset_train_split", "the split train is taken")
    it.quiet(SCRIPT)
    _rows(it)
    _held_out(it)
    it.rest("rows are read as they are needed")


def _mixture(it: Group, mixture: list[Any]) -> None:
    for index, entry in enumerate(mixture):
        where, given = f"datasets[{index}].", table(entry)
        for name, value in given.items():
            if name == "path":
                _source(it.draft, index, where, given)
            elif name == "split" and value not in (None, "train") and not index:
                it.draft.put("dataset.train", value, where + name, value)
            elif name in ("name", "data_dir", "data_files"):
                it.draft.tell(where + name, value, Fate.SAME, "spec.dataset.uri")
            elif name == "fraction" and index and isinstance(value, int | float) and value:
                it.draft.get("dataset.mix")[-1]["weight"] = value
                it.draft.tell(where + name, value, Fate.SAME, "spec.dataset.mix")
            elif name not in ("split", "fraction", "columns"):
                it.draft.tell(
                    where + name, value, Fate.UNKNOWN, why="no field that this command knows"
                )
            elif name == "split" and value in (None, "train"):
                it.draft.moot(where + name, value, "the split train is taken")
            else:
                it.draft.lost(where + name, value, "rows and columns of a source are all read")
    it.moot("datasets", "each is told by itself")


def _source(draft: Draft, index: int, where: str, given: dict[str, Any]) -> None:
    folder = given.get("name") or given.get("data_dir")
    found = places.dataset(given.get("path"), given.get("data_files"), folder)
    said = found if isinstance(found, Said) else Said(found, "", Fate.SAME)
    path = f"{where}path"
    if not index:
        draft.put("dataset.uri", said.value, path, given["path"], fate=said.fate, why=said.why)
        return
    mixed = [*(draft.get("dataset.mix") or []), {"uri": said.value}]
    draft.put("dataset.mix", mixed, path, given["path"], fate=said.fate, why=said.why)


def _rows(it: Group) -> None:
    column = it.get("dataset_text_field")
    script = it.get(SCRIPT)
    if script in _OBJECTIVES:
        usual = preference.ONE if script == "kto" else preference.TWO
        why = "TRL goes by the columns' names; without a prompt, both answers begin with it"
        it.put("dataset.columns", dict(usual), why=why, fate=Fate.FILL)
        return
    if isinstance(column, str) and column:
        it.put("dataset.template", f"{{{column}}}", "dataset_text_field")
    else:
        why = (
            "TRL goes by the columns' names: messages; prompt and completion; or text (a template)"
        )
        it.put("dataset.columns", {"messages": "messages"}, why=why, fate=Fate.FILL)
    it.put("task", "generation", fate=Fate.DEFAULT)


def _held_out(it: Group) -> None:
    share = it.get("test_split_size")
    asked = str(it.get("eval_strategy") or "no") != "no"
    if share is not None:
        it.read("dataset.evalFraction", "test_split_size", number)
    elif asked:
        it.put("dataset.eval", str(it.get("dataset_test_split") or "test"), "dataset_test_split")
    it.moot("dataset_test_split", "evaluation is off")
    it.moot("eval_strategy", "told by itself")


def packing(value: Any) -> Any:
    """packing: without it, rows are never joined."""
    return "Always" if flag(value) else None


def completion_only(it: Group) -> None:
    """Which tokens the loss counts."""
    for name in ("completion_only_loss", "assistant_only_loss"):
        if is_on(it.get(name)):
            it.put("dataset.lossOn", "Completion", name)
    if it.get("completion_only_loss") is False and not is_on(it.get("assistant_only_loss")):
        it.put("dataset.lossOn", "All", "completion_only_loss")
    it.rest("it is off")


def loss(value: Any) -> Any:
    """loss_type of sft."""
    if set(of_texts(value)) <= {"nll", "chunked_nll"}:
        return Said(None, "so it is here, too", Fate.MOOT)
    return choice({}, "a loss of your own is training.loss")(value)


_OTHERS = (
    "beta loss_weights ld_alpha f_divergence_type f_alpha_divergence_coef label_smoothing "
    "use_weighting discopop_tau sync_ref_model ref_model_mixup_alpha ref_model_sync_steps "
    "precompute_ref_log_probs precompute_ref_batch_size disable_dropout desirable_weight "
    "undesirable_weight max_prompt_length max_completion_length center_rewards_coefficient "
    "rpo_alpha reference_free generate_during_eval"
)

FIELDS: dict[str, Field] = {
    **arguments.TRAINING_ARGUMENTS,
    "learning_rate": to("training.learningRate", number, default=2e-5),
    "per_device_train_batch_size": to("training.perDeviceBatchSize", whole, default=8),
    **several("bf16 fp16", group(precision, "training.precision")),
    # The model.
    "model_name_or_path": to("model.uri", places.model),
    "model_revision": to("model.revision", lambda value: None if value == "main" else text(value)),
    **several("dtype torch_dtype", heard(dtype)),
    "attn_implementation": moot(arguments.KERNEL),
    "model_init_kwargs": lost("the model is loaded as its files say"),
    **several("use_peft load_in_4bit load_in_8bit", group(method, "method.type")),
    "lora_r": to("method.lora.rank", whole, default=16),
    "lora_alpha": to("method.lora.alpha", number, default=32),
    "lora_dropout": to("method.lora.dropout", number, default=0.05),
    "lora_target_modules": to("method.lora.targetModules", lora.modules),
    "lora_modules_to_save": to("method.lora.modulesToSave", words),
    "use_rslora": to("method.lora.rankStabilized", flag),
    "use_dora": to("method.lora.dora", flag),
    "lora_task_type": moot("it follows from task"),
    "lora_target_parameters": lost("modules get updates, not parameters"),
    "bnb_4bit_quant_type": to("method.quantization.type", text),
    "use_bnb_nested_quant": to("method.quantization.double", flag, default=False),
    "bnb_4bit_quant_storage": moot(arguments.KERNEL),
    "router_aux_loss_coef": lost("the loss is the model's own, of the answers alone", 0.001, 0),
    # The data.
    **several(
        "dataset_name dataset_config dataset_train_split dataset_test_split datasets "
        f"dataset_text_field test_split_size {SCRIPT}",
        group(
            data,
            "dataset.uri",
            "dataset.train",
            "dataset.eval",
            "dataset.evalFraction",
            "dataset.template",
            "dataset.columns",
            "dataset.mix",
            "task",
        ),
    ),
    **several(
        "dataset_streaming streaming dataset_num_proc dataset_kwargs shuffle_dataset "
        "ignore_bias_buffers pad_token padding_free pad_to_multiple_of packing_strategy "
        "eval_packing max_seq_length_strategy",
        moot(arguments.LOADED),
    ),
    "chat_template_path": lost("its text goes into dataset.chatTemplate"),
    "eos_token": lost("an answer ends as the chat template ends it"),
    "max_length": to("training.maxLength", whole, default=1024),
    "max_seq_length": to("training.maxLength", whole),
    "truncation_mode": lost("rows are cut at their end, chats at their begin", "keep_start"),
    "packing": to("training.packing", packing),
    **several("completion_only_loss assistant_only_loss", group(completion_only, "dataset.lossOn")),
    "loss_type": heard(loss),
    **several(_OTHERS, lost("it is another objective's: say which by the script, as in `trl dpo`")),
}


def answers(it: Group) -> None:
    """What dpo, kto and orpo learn by. Raises RefusedError."""
    script = str(it.get(SCRIPT))
    losses = of_texts(it.get("loss_type"))
    known = {"dpo": {"sigmoid": "dpo", "ipo": "ipo"}, "kto": {"kto": "kto"}}.get(script, {})
    if len(losses) > 1 or (losses and known and losses[0] not in known):
        raise RefusedError(
            f"loss_type: {', '.join(losses)} can't be said here", f"use {' or '.join(known)}"
        )
    found = known.get(losses[0], script) if losses else script
    preference.prefer(it, found, "loss_type" if losses else "", _PREFERRED)
    it.quiet(SCRIPT)
    it.rest("it is another objective's")


_PREFERRED = {
    "beta": ("beta",),
    "labelSmoothing": ("label_smoothing",),
    "sftWeight": ("rpo_alpha",),
    "desirableWeight": ("desirable_weight",),
    "undesirableWeight": ("undesirable_weight",),
}
_OF_PREFERENCE = " ".join(name for names in _PREFERRED.values() for name in names)
# `trl dpo`, `trl kto` and `trl orpo`: as sft, but for what is learnt.
PREFERENCE: dict[str, Field] = {
    **FIELDS,
    "learning_rate": to("training.learningRate", number, default=1e-6),
    **several(f"loss_type {SCRIPT} {_OF_PREFERENCE}", group(answers, *preference.TARGETS)),
    **several(
        "dataset_name dataset_config dataset_train_split dataset_test_split datasets "
        "dataset_text_field test_split_size",
        FIELDS["dataset_name"],
    ),
    **several("precompute_ref_log_probs precompute_ref_batch_size", moot(preference.OF_REFERENCE)),
    **several(
        "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps", lost(preference.REFERENCE)
    ),
    "disable_dropout": lost("training.dropout says it", True),
    **several(
        "loss_weights ld_alpha f_divergence_type f_alpha_divergence_coef use_weighting "
        "discopop_tau max_prompt_length max_completion_length reference_free "
        "generate_during_eval",
        lost("training.preference says what is learnt of answers", "reverse_kl", 0.5, 0.05),
    ),
}


def convert(given: dict[str, Any], _: Beside) -> list[Draft]:
    """A FineTuneJob."""
    script = objective(given)
    if script not in ("sft", *_OBJECTIVES):
        raise RefusedError(
            f"trl {script} can't be said here: sft, dpo, kto and orpo are converted",
            preference.NO_REWARDS,
        )
    draft = Draft(FINE_TUNE_JOB, named(given, "run_name", "output_dir", "model_name_or_path"))
    walk(PREFERENCE if script in _OBJECTIVES else FIELDS, {**given, SCRIPT: script}, draft)
    if draft.get("method.type") != "full" and draft.get("method.lora.targetModules") is None:
        draft.put("method.lora.targetModules", ["auto"], why=lora.AUTO, fate=Fate.DIFFERS)
    on_gpu(draft)
    return [draft]


SOURCE = Source(
    "trl",
    "TRL",
    {"FineTuneJob": {"": FIELDS, "(dpo) ": PREFERENCE}},
    convert,
    marks=("model_name_or_path",),
)
