"""Which field was meant by one that there isn't: misspelt, in another place, or another tool's.

Pure: models in, words out.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str | int, ...]

# What other tools call a field of ours: transformers, TRL, PEFT, Axolotl, LLaMA-Factory, torchtune,
# Unsloth, OpenAI. Compared without case, _ and -; of several the first that the resource has.
_ELSEWHERE = {
    "training.perDeviceBatchSize": "per_device_train_batch_size train_batch_size micro_batch_size "
    "batch_size per_gpu_train_batch_size mini_batch_size",
    "training.gradientAccumulationSteps": "grad_accumulation_steps gradient_accumulation "
    "grad_accum accumulate_grad_batches accumulation_steps",
    "training.gradientCheckpointing": "use_gradient_checkpointing activation_checkpointing "
    "enable_activation_checkpointing",
    "training.parallel": "fsdp fsdp_config sharding_strategy distributed_strategy strategy "
    "deepspeed zero_stage zero parallelism_config",
    "training.epochs": "num_train_epochs num_epochs n_epochs epoch max_epochs",
    "training.maxSteps": "steps max_train_steps num_steps total_steps iterations iters max_iters",
    "training.learningRate": "lr base_lr learning_rate_multiplier peak_learning_rate",
    "training.scheduler": "lr_scheduler_type lr_scheduler scheduler_type lr_schedule",
    "training.schedulerOptions": "lr_scheduler_kwargs lr_scheduler_args",
    "training.schedulerOptions.minLearningRate": "min_lr minimum_learning_rate",
    "training.schedulerOptions.cycles": "num_cycles",
    "training.warmupRatio": "warmup warmup_steps num_warmup_steps warmup_proportion",
    "training.optimizer": "optim optimiser optimizer_type optim_name",
    "training.weightDecay": "wd decay",
    "training.maxGradNorm": "clip_grad_norm gradient_clipping grad_clip gradient_clip_val",
    "training.precision": "fp16 bf16 mixed_precision dtype torch_dtype half tf32 compute_dtype",
    "training.maxLength": "max_seq_length max_seq_len sequence_len seq_length sequence_length "
    "cutoff_len model_max_length max_source_length block_size context_length seq_len",
    "training.packing": "sample_packing pack packed multipack_real_batches",
    "training.groupByLength": "length_grouping length_column_name train_sampling_strategy",
    "training.labelSmoothing": "label_smoothing_factor",
    "training.classification.classWeights": "class_weight label_weights balanced_class_weights",
    "training.classification.focalGamma": "focal_loss_gamma gamma focal_loss use_focal_loss",
    "training.neftuneNoiseAlpha": "neftune_alpha noise_alpha",
    "training.dataloaderWorkers": "dataloader_num_workers num_workers preprocessing_num_workers",
    "training.seed": "random_seed data_seed random_state manual_seed",
    "training.logEverySteps": "logging_steps log_steps log_every_n_steps log_interval",
    "training.evalEverySteps": "eval_steps eval_interval val_check_interval eval_every",
    "training.saveEverySteps": "save_steps checkpoint_every save_interval save_every "
    "checkpointing_steps",
    "training.earlyStopping.patience": "early_stopping_patience",
    "training.earlyStopping.minDelta": "early_stopping_threshold early_stopping_min_delta",
    "training.earlyStopping.metric": "metric_for_best_model",
    "training.loss": "loss_fn loss_function criterion custom_loss",
    "training.preference": "dpo dpo_config rlhf rl trl kto kto_config orpo simpo",
    "training.preference.objective": "loss_type pref_loss rl preference_loss",
    "training.preference.beta": "dpo_beta pref_beta rl_beta orpo_alpha orpo_beta kto_beta "
    "simpo_beta tau",
    "training.preference.labelSmoothing": "dpo_label_smoothing cdpo_label_smoothing",
    "training.preference.sftWeight": "rpo_alpha pref_ftx dpo_ftx cpo_alpha nll_coef",
    "training.preference.gamma": "simpo_gamma cpo_simpo_gamma",
    "training.preference.desirableWeight": "kto_desirable_weight kto_chosen_weight",
    "training.preference.undesirableWeight": "kto_undesirable_weight kto_rejected_weight",
    "checkpoints.keepLast": "save_total_limit max_checkpoints keep_last_n keep_checkpoints",
    "method": "peft adapter_config finetuning finetune_type finetuning_type",
    "method.type": "peft_type peft_method tuning_method load_in_4bit qlora use_peft train_type",
    "method.full.weights": "pure_bf16 bf16_full_train full_bf16 weights_dtype param_dtype",
    "method.lora": "lora_config peft_config",
    "method.lora.rank": "r lora_r lora_rank lora_dim lora_attn_dim",
    "method.lora.alpha": "lora_alpha",
    "method.lora.dropout": "lora_dropout",
    "method.lora.targetModules": "lora_target_modules lora_target lora_attn_modules "
    "lora_target_linear target_layers",
    "method.lora.modulesToSave": "lora_modules_to_save additional_target trainable_modules",
    "method.lora.rankStabilized": "use_rslora rslora lora_rslora peft_use_rslora",
    "method.lora.dora": "use_dora lora_dora peft_use_dora",
    "method.lora.bias": "lora_bias",
    "method.quantization": "bnb_config quantization_config quantize",
    "method.quantization.type": "bnb_4bit_quant_type quant_type",
    "method.quantization.double": "bnb_4bit_use_double_quant double_quantization double_quant",
    "method.quantization.computeType": "bnb_4bit_compute_dtype",
    "method.virtualTokens.count": "num_virtual_tokens",
    "method.adapter.reductionFactor": "reduction",
    "method.merge": "merge_lora merge_adapter merge_and_unload save_merged",
    "model.uri": "model_name_or_path base_model model_name model_id pretrained_model_name_or_path "
    "model_path model_uri",
    "base.uri": "model base_model base_model_name_or_path model_name_or_path model_id model_path",
    "source.modelUri": "model model_name_or_path base_model model_path input_model",
    "source.adapterUri": "adapter_path adapter_name_or_path peft_model_id lora_path",
    "model.revision": "model_revision",
    "model.tokenSecretRef": "hf_token use_auth_token token hub_token",
    "dataset.uri": "dataset_name dataset_path train_file training_file data_path data_files "
    "dataset_name_or_path data_uri train_path datasets",
    "dataset.template": "text_template prompt_template prompt_format chat_template "
    "instruction_template",
    "dataset.columns": "columns_mapping field_mapping",
    "dataset.columns.text": "dataset_text_field text_column text_field input_column",
    "dataset.columns.label": "label_column target_column",
    "dataset.columns.labels": "labels_column label_columns multi_label",
    "dataset.labelSeparator": "label_delimiter label_sep separator multi_label_separator",
    "dataset.columns.messages": "conversations conversation messages_column",
    "dataset.columns.prompt": "instruction prompt_column input",
    "dataset.columns.completion": "output response completion_column answer",
    "dataset.columns.chosen": "chosen_column field_chosen preferred_output preferred",
    "dataset.columns.rejected": "rejected_column field_rejected non_preferred_output",
    "dataset.evalFraction": "val_set_size test_size validation_split val_size eval_split_ratio "
    "validation_fraction val_fraction eval_ratio split_ratio",
    "dataset.eval": "eval_split validation_split_name validation_file eval_file val_file",
    "dataset.train": "train_split dataset_train_split",
    "dataset.test": "test_split dataset_test_split test_file",
    "dataset.lossOn": "train_on_inputs completion_only_loss assistant_only_loss mask_inputs "
    "train_on_prompt",
    "dataset.longRows": "excess_length_strategy truncation_strategy",
    "evaluation.metrics": "metric compute_metrics eval_metrics",
    "evaluation.batchSize": "per_device_eval_batch_size eval_batch_size val_batch_size",
    "evaluation.maxSamples": "max_eval_samples eval_samples max_test_samples",
    "evaluation.maxNewTokens": "max_new_tokens generation_max_length max_target_length "
    "max_gen_toks",
    "evaluation.script": "eval_script",
    "tracking": "report_to trackers logger experiment_tracker",
    "tracking.mlflow.uri": "mlflow_tracking_uri tracking_uri",
    "tracking.mlflow.experiment": "mlflow_experiment_name experiment_name",
    "tracking.wandb.project": "wandb_project project_name",
    "tracking.wandb.entity": "wandb_entity",
    "tracking.wandb.mode": "wandb_mode",
    "output.uri": "output_dir output_path save_path output_folder out_dir",
    "placement.gpus": "num_gpus gpu_count n_gpu nproc_per_node gpu",
    "placement.nodes": "num_nodes nnodes num_machines",
    "placement.pool": "node_pool node_selector",
    "placement.queueName": "queue local_queue",
    "placement.priority": "priority_class priority_class_name workload_priority_class",
    "limits.activeDeadlineSeconds": "timeout deadline max_run_time",
    "limits.maxRestarts": "backoff_limit max_retries restarts",
    "limits.ttlSecondsAfterFinished": "ttl",
    "precisions": "bits quantization_bits quant_types",
    "precision": "bits dtype torch_dtype",
    "int4.blockSize": "group_size q_group_size",
    "int4.algorithm": "algo quant_method algo_config",
    "int4.symmetric": "sym is_symmetric",
    "target.device": "accelerator",
    "target.provider": "execution_provider ep execution_providers",
    "gates.maxMetricDrop": "max_accuracy_drop accuracy_drop max_drop",
}
_NEAR, _ALIKE = 0.6, 0.8


def meant(model: type[BaseModel], path: Path, root: str = "") -> str:
    """The remedy for an unknown field: the one that was probably meant by the field at `path`, or
    those that there are. `root`: what a path from the model begins with, e.g. spec."""
    *above, last = path
    parent, here = _place(model, tuple(above))
    name = str(last)
    if found := _spelt(name, here):
        return f"did you mean {found}?"
    targets = [target for target in _called(_plain(name)) if _is_field(model, target)]
    if direct := [target[-1] for target in targets if target[:-1] == parent]:
        return f"did you mean {direct[0]}?"
    if found := _nearest(name, here, _ALIKE):
        return f"did you mean {found}?"
    same = [path for path in _paths(model) if _plain(path[-1]) == _plain(name)]
    if others := same if len(same) == 1 else targets:
        return f"did you mean {'.'.join((root, *others[0]) if root else others[0])}?"
    return did_you_mean(name, here)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Of the choices the one that is spelt most alike, or all of them."""
    choices = sorted(choices)
    if found := _spelt(name, choices) or _nearest(name, choices, _NEAR):
        return f"did you mean {found}?"
    return f"the fields here are: {', '.join(choices)}" if choices else "remove it"


def is_near(name: str, wanted: str) -> bool:
    """Whether a name is probably a misspelling of another one."""
    return bool(_spelt(name, [wanted]) or _nearest(name, [wanted], _ALIKE))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name[:128].lower())


def _spelt(name: str, choices: Iterable[str]) -> str | None:
    """max_steps, MaxSteps, max-steps: maxSteps."""
    return next((choice for choice in choices if _plain(choice) == _plain(name) != ""), None)


def _nearest(name: str, choices: Iterable[str], likeness: float) -> str | None:
    by_plain = {_plain(choice): choice for choice in choices}
    near = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=likeness)
    return by_plain[near[0]] if near else None


def _called(plain: str) -> list[tuple[str, ...]]:
    """What another tool's name may stand for."""
    return _synonyms().get(plain, [])


@cache
def _synonyms() -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for target, names in _ELSEWHERE.items():
        for name in names.split():
            found.setdefault(_plain(name), []).append(tuple(target.split(".")))
    return found


@cache
def _paths(model: type[BaseModel]) -> tuple[tuple[str, ...], ...]:
    """Every field below a model; of lists and maps those of their items."""
    found: list[tuple[str, ...]] = []
    for name, annotation in _fields(model).items():
        found.append((name,))
        for inner in _models(annotation):
            found += [(name, *below) for below in _paths(inner)]
    return tuple(found)


def _is_field(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    return path in _paths(model)


def _place(model: type[BaseModel], path: Path) -> tuple[tuple[str, ...], list[str]]:
    """The path without indices and keys of maps, and the names of the fields there."""
    at: Any = model
    names: list[str] = []
    for part in path:
        if _is_model(at):
            at = _unwrapped(_fields(at).get(str(part)))
            names.append(str(part))
        else:  # an index, or a key of a map
            at = _unwrapped(next(reversed(get_args(at)), None))
    return tuple(names), sorted(_fields(at)) if _is_model(at) else []


def _unwrapped(annotation: Any) -> Any:
    """The model, list or map that an annotation comes down to: without None and constraints."""
    if _is_model(annotation) or get_origin(annotation) in (list, dict):
        return annotation
    inner = (_unwrapped(argument) for argument in get_args(annotation))
    return next((found for found in inner if found is not None), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if _is_model(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
