"""LLaMA-Factory's YAML, and the datasets that its dataset_info.json describes."""

import json
from typing import Any

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.convert import lora, places, preference, sharing, trackers
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.llamafactory_data import INFO, data, objective
from luthier_cli.convert.mapping import (
    Field,
    Group,
    group,
    lost,
    moot,
    several,
    to,
    walk,
)  # fmt: skip
from luthier_cli.convert.source import Beside, RefusedError, Source, named, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import always, flag, number, text, whole, words

_PREFERRED = {
    "beta": ("pref_beta",),
    "gamma": ("simpo_gamma",),
    "labelSmoothing": ("dpo_label_smoothing",),
    "sftWeight": ("pref_ftx",),
    "desirableWeight": ("kto_chosen_weight",),
    "undesirableWeight": ("kto_rejected_weight",),
}
_OF_PREFERENCE = " ".join(name for names in _PREFERRED.values() for name in names)


def stage(it: Group) -> None:
    """What is learnt."""
    name = str(it.get("stage") or "sft").lower()
    found = objective(it)
    if not found and name not in ("sft", "pt"):
        raise RefusedError(
            f"stage: {name} can't be said here: sft, pt, dpo and kto are converted",
            preference.NO_REWARDS,
        )
    if found:
        preference.prefer(it, found, "stage", _PREFERRED)
        it.same("pref_loss", "training.preference.objective")
        if found == "simpo":
            preference.usual(it, "beta", 0.1, "pref_beta")
            preference.usual(it, "gamma", 0.5, "simpo_gamma")
    else:
        it.put("task", "generation", "stage")
    it.rest(f"the stage is {name}")


def method(it: Group) -> None:
    """finetuning_type, and the bits of the base."""
    kind = str(it.get("finetuning_type") or "lora").lower()
    bits = it.get("quantization_bit")
    if kind not in ("lora", "full"):
        raise RefusedError(f"finetuning_type: {kind} is no method here", "use lora or full")
    if (
        kind == "lora"
        and bits == 4
        and str(it.get("quantization_method") or "bnb").lower() in ("bnb", "bitsandbytes")
    ):
        it.put("method.type", "qlora", "finetuning_type")
        it.same("quantization_bit", "method.type")
        it.read("method.quantization.type", "quantization_type", text)
        it.read("method.quantization.double", "double_quantization", flag)
    else:
        it.put("method.type", kind, "finetuning_type")
        it.lost(
            "quantization_bit",
            "4 bits by bitsandbytes, with lora, are the method qlora; others there aren't",
        )
    it.rest("bitsandbytes quantises as the weights are loaded")


def rank(it: Group) -> None:
    """lora_rank, and alpha, which is twice the rank unless told."""
    found = it.read("method.lora.rank", "lora_rank", whole)
    if found is None:
        found = 8
        it.put("method.lora.rank", found, "lora_rank", fate=Fate.DEFAULT)
    if it.read("method.lora.alpha", "lora_alpha", number) is None:
        it.put("method.lora.alpha", 2 * found, "lora_alpha", fate=Fate.DEFAULT)


_OPTIMISERS = (
    "use_galore use_apollo use_badam use_adam_mini use_muon galore_target galore_rank "
    "galore_update_interval galore_scale galore_proj_type galore_layerwise apollo_target "
    "apollo_rank apollo_update_interval apollo_scale apollo_proj apollo_proj_type "
    "apollo_scale_type apollo_layerwise apollo_scale_front badam_mode badam_start_block "
    "badam_switch_mode badam_switch_interval badam_update_ratio badam_mask_mode badam_verbose"
)
_GENERATION = (
    "do_sample temperature top_p top_k num_beams max_length repetition_penalty length_penalty "
    "skip_special_tokens eval_num_beams predict_with_generate compute_accuracy"
)
_EXPORT = (
    "export_dir export_size export_device export_quantization_bit export_quantization_dataset "
    "export_quantization_nsamples export_quantization_maxlen export_legacy_format "
    "export_hub_model_id"
)

FIELDS: dict[str, Field] = {
    **arguments.TRAINING_ARGUMENTS,
    "per_device_train_batch_size": to("training.perDeviceBatchSize", whole, default=8),
    "gradient_checkpointing": to("training.gradientCheckpointing", always),
    # The model.
    "model_name_or_path": to("model.uri", places.model),
    "model_revision": to("model.revision", lambda value: None if value == "main" else text(value)),
    "hf_hub_token": lost("a Secret holds it: model.tokenSecretRef"),
    **several("ms_hub_token om_hub_token", lost("models come from hf://, s3:// and pvc://")),
    "adapter_name_or_path": lost("going on from an adapter is model.adapter.uri, in S3"),
    **several(
        "adapter_folder cache_dir use_fast_tokenizer low_cpu_mem_usage offload_folder "
        "use_kv_cache infer_backend infer_dtype print_param_status flash_attn use_unsloth "
        "use_unsloth_gc enable_liger_kernel use_reentrant_gc upcast_layernorm "
        "upcast_lmhead_output use_v1_kernels device_map block_diag_attn model_max_length "
        "compute_dtype quantization_device_map split_special_tokens",
        moot(arguments.KERNEL),
    ),
    **several(
        "resize_vocab add_tokens add_special_tokens new_special_tokens_config init_special_tokens",
        lost(lora.TOKENS),
    ),
    **several(
        "rope_scaling shift_attn mixture_of_depths train_from_scratch moe_aux_loss_coef",
        lost("the model is loaded as its files say"),
    ),
    "disable_gradient_checkpointing": to(
        "training.gradientCheckpointing", lambda value: "Never" if flag(value) else None
    ),
    # What is learnt, and by which method.
    **several(f"stage pref_loss {_OF_PREFERENCE}", group(stage, *preference.TARGETS)),
    **several(
        "finetuning_type quantization_bit quantization_method quantization_type "
        "double_quantization",
        group(method, "method.type", "method.quantization.type", "method.quantization.double"),
    ),
    **several("lora_rank lora_alpha", group(rank, "method.lora.rank", "method.lora.alpha")),
    "lora_dropout": to("method.lora.dropout", number),
    "lora_target": to("method.lora.targetModules", lora.modules, default=["all-linear"]),
    "additional_target": to("method.lora.modulesToSave", words),
    "use_rslora": to("method.lora.rankStabilized", flag),
    "use_dora": to("method.lora.dora", flag),
    **several("loraplus_lr_ratio loraplus_lr_embedding", lost(lora.SPLIT_RATES)),
    **several("pissa_init pissa_iter pissa_convert", lost(lora.INITIALISED)),
    "create_new_adapter": moot("each training makes its own adapter"),
    "pure_bf16": to("method.full.weights", lambda value: "bf16" if flag(value) else None),
    **several(
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules "
        "use_llama_pro freeze_vision_tower freeze_multi_modal_projector "
        "freeze_language_model",
        lost("which weights are trained is the method's alone"),
    ),
    **several(
        "use_dft_loss use_asft_loss asft_alpha use_eaft_loss eaft_alpha",
        lost("a loss of your own is training.loss"),
    ),
    **several(_OPTIMISERS, lost("optimisers are those of docs/optimizers.md")),
    **several(
        "use_mca use_megatron_bridge megatron_bridge_args use_hyper_parallel "
        "hyper_parallel_args hyper_parallel_cp_size",
        lost(sharing.BY_PARTS),
    ),
    **several(
        "fp8 fp8_backend fp8_enable_fsdp_float8_all_gather",
        lost("training is in fp32, bf16 or fp16"),
    ),
    **several(
        "pref_bco_weight ld_alpha", lost("training.preference says what is learnt of answers")
    ),
    **several(
        "ref_model ref_model_adapters ref_model_quantization_bit", lost(preference.REFERENCE)
    ),
    **several(
        "ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards reward_model "
        "reward_model_adapters reward_model_quantization_bit reward_model_type",
        lost(preference.NO_REWARDS),
    ),
    # The data.
    **several(
        f"dataset eval_dataset dataset_dir val_size {INFO}",
        group(
            data,
            "dataset.uri",
            "dataset.mix",
            "dataset.columns",
            "dataset.template",
            "dataset.evalFraction",
            "dataset.longRows",
        ),
    ),
    "template": moot("the model's own chat template is used"),
    "cutoff_len": to("training.maxLength", whole, default=2048),
    "train_on_prompt": to("dataset.lossOn", lambda value: "All" if flag(value) else "Completion"),
    "mask_history": lost(
        "the loss counts each of the assistant's turns; `weight: 0` leaves one out"
    ),
    "max_samples": lost("dataset.train takes a slice: train[:1000]"),
    **several("mix_strategy interleave_probs", lost("dataset.mix has weights", "concat")),
    "eval_on_each_dataset": lost("what is measured is one set of rows"),
    "packing": to("training.packing", lambda value: "Always" if flag(value) else None),
    "neat_packing": to("training.packing", lambda value: "Always" if flag(value) else None),
    **several(
        "tool_format default_system enable_thinking preserve_thinking",
        lost("the model's chat template writes tools, system and reasoning", True),
    ),
    **several(
        "media_dir streaming buffer_size overwrite_cache preprocessing_batch_size "
        "preprocessing_num_workers ignore_pad_token_for_loss tokenized_path "
        "data_shared_file_system disable_shuffling",
        moot(arguments.LOADED),
    ),
    **several(
        "image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches "
        "video_max_pixels video_min_pixels video_fps video_maxlen use_audio_in_video "
        "audio_sampling_rate",
        lost("only text is learnt"),
    ),
    # What is told, and what comes after.
    "early_stopping_steps": to("training.earlyStopping.patience", whole),
    **several("plot_loss include_effective_tokens_per_second", moot(arguments.WATCHED)),
    **several(
        "use_swanlab swanlab_project swanlab_workspace swanlab_run_name swanlab_mode "
        "swanlab_api_key swanlab_logdir swanlab_lark_webhook_url swanlab_lark_secret",
        lost(trackers.OTHERS),
    ),
    "max_new_tokens": to("evaluation.maxNewTokens", whole),
    **several(
        _GENERATION,
        lost("answers are generated greedily, and measured by evaluation.metrics", 1, 1.0),
    ),
    **several(_EXPORT, lost("method.merge writes a merged model; an OptimizeJob quantises it")),
    **several(
        "ray_num_workers ray_init_kwargs ray_run_name ray_storage_path master_addr "
        "master_port placement_strategy resources_per_worker",
        moot(arguments.PROCESSES),
    ),
    **several(
        "enable_torch_profiler profiler_output_dir profiler_wait_steps "
        "profiler_warmup_steps profiler_active_steps profiler_repeat "
        "profiler_record_shapes profiler_profile_memory profiler_with_stack "
        "profile_modules",
        moot(arguments.WATCHED),
    ),
    **several(
        "use_kt kt_cpu_activation kt_weight_path kt_non_expert_weight_path "
        "kt_expert_checkpoint_path kt_use_lora_experts kt_lora_expert_num "
        "kt_lora_expert_intermediate_size",
        lost("the trainer's own kernels train"),
    ),
    **several(
        "vllm_maxlen vllm_gpu_util vllm_enforce_eager vllm_max_lora_rank vllm_config "
        "sglang_maxlen sglang_mem_fraction sglang_tp_size sglang_config "
        "sglang_lora_backend",
        moot("nothing is served here"),
    ),
}


def convert(given: dict[str, Any], beside: Beside) -> list[Draft]:
    """A FineTuneJob."""
    folder = given.get("dataset_dir")
    info = beside(f"{folder if isinstance(folder, str) else 'data'}/dataset_info.json")
    draft = Draft(FINE_TUNE_JOB, named(given, "run_name", "output_dir", "model_name_or_path"))
    walk(FIELDS, {name: it for name, it in given.items() if name != INFO} | _info(info), draft)
    on_gpu(draft)
    return [draft]


def _info(text_: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text_ or "{}")
    except (ValueError, RecursionError):
        found = {}
    return {INFO: found} if isinstance(found, dict) and found else {}


SOURCE = Source(
    "llamafactory",
    "LLaMA-Factory",
    {"FineTuneJob": {"": FIELDS}},
    convert,
    marks=("stage", "finetuning_type", "cutoff_len", "lora_target", "template"),
)
