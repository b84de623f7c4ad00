"""Axolotl's YAML."""

from typing import Any

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.convert import lora, places, preference, sharing, trackers
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.axolotl_data import DATA, OBJECTIVES, data
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import (
    Field,
    Group,
    UnsaidError,
    group,
    heard,
    lost,
    moot,
    several,
    to,
    walk,
)
from luthier_cli.convert.source import RefusedError, Source, named, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import flag, is_on, number, of_texts, table, text, whole, words

# Settings of preference tuning, by ours.
_PREFERRED = {
    "beta": ("rl_beta", "dpo_beta", "orpo_alpha"),
    "gamma": ("simpo_gamma",),
    "labelSmoothing": ("dpo_label_smoothing",),
    "sftWeight": ("rpo_alpha", "cpo_alpha"),
    "desirableWeight": ("kto_desirable_weight",),
    "undesirableWeight": ("kto_undesirable_weight",),
}
_OF_PREFERENCE = " ".join(name for names in _PREFERRED.values() for name in names)
_METHOD = ("method.type", "method.quantization.double", "method.quantization.type")
_TRACKERS = (
    "use_mlflow mlflow_tracking_uri mlflow_experiment_name mlflow_run_name "
    "hf_mlflow_log_artifacts use_wandb wandb_name wandb_run_id wandb_mode wandb_project "
    "wandb_entity wandb_watch wandb_log_model wandb_run_name"
)
_OTHER_TRACKERS = (
    "use_comet comet_api_key comet_workspace comet_project_name comet_experiment_key comet_mode "
    "comet_online comet_experiment_config use_trackio trackio_project_name trackio_run_name "
    "trackio_space_id use_otel_metrics otel_metrics_host otel_metrics_port"
)
_KERNELS = (
    "xformers_attention sdp_attention flex_attention flex_attn_compile_kwargs flash_attention "
    "flash_attn_cross_entropy flash_attn_rms_norm flash_attn_fuse_qkv flash_attn_fuse_mlp "
    "flash_optimum sage_attention eager_attention attn_implementation gemma4_hybrid_attn_impl "
    "large_head_attention flash_attn_d512 sdpa_varlen fused_attn_kernel experts_implementation "
    "lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel chunked_cross_entropy "
    "chunked_cross_entropy_num_chunks tiled_mlp tiled_mlp_num_shards tiled_mlp_use_original_mlp "
    "torch_compile_options selective_checkpointing layer_offloading liger_rope liger_rms_norm "
    "liger_glu_activation liger_layer_norm liger_fused_linear_cross_entropy "
    "liger_cross_entropy liger_swiglu cut_cross_entropy use_kernels low_cpu_mem_usage "
    "use_scattermoe use_sonicmoe liger_rms_norm_gated gc_steps gc_collect_steps lora_on_cpu "
    "batch_flattening"
)
_BATCHING = (
    "sample_packing_group_size sample_packing_bin_size sample_packing_sequentially "
    "sample_packing_mp_start_method eval_sample_packing pad_to_sequence_len pad_to_multiple_of "
    "multipack_real_batches max_packed_sequence_len pretrain_multipack_buffer_size "
    "pretrain_multipack_attn "
    "sample_packing_eff_est total_num_tokens total_supervised_tokens "
    "streaming_multipack_buffer_size sample_packing_seq_len_multiplier"
)


def method(it: Group) -> None:
    """adapter, and the bits of its base."""
    adapter = str(it.get("adapter") or "").lower()
    four = is_on(it.get("load_in_4bit"))
    if is_on(it.get("load_in_8bit")):
        it.lost("load_in_8bit", lora.EIGHT_BITS)
    if adapter == "qlora" or (adapter == "lora" and four):
        it.put("method.type", "qlora", "adapter")
        it.same("load_in_4bit", "method.type")
        _quantization(it)
    elif adapter == "lora":
        it.put("method.type", "lora", "adapter")
    elif adapter:
        raise RefusedError(f"adapter: {adapter} is no method here", "use lora, qlora or none")
    else:
        it.put("method.type", "full", "adapter", fate=Fate.DEFAULT, why="no adapter is named")
    it.rest("it is off, or the method's own")


def _quantization(it: Group) -> None:
    given = table(it.get("bnb_config_kwargs"))
    left = dict(given)
    if "bnb_4bit_quant_type" in left:
        it.put("method.quantization.type", left.pop("bnb_4bit_quant_type"), "bnb_config_kwargs")
    if "bnb_4bit_use_double_quant" in left:
        double = left.pop("bnb_4bit_use_double_quant")
        it.put("method.quantization.double", double, "bnb_config_kwargs")
    if left:
        it.lost("bnb_config_kwargs", f"no counterpart of {', '.join(left)}")


def objective(it: Group) -> None:
    """What is learnt: sft, unless rl or another head is named."""
    objective_ = str(it.get("rl") or "").lower()
    if objective_ and objective_ not in OBJECTIVES:
        raise RefusedError(f"rl: {it.get('rl')} can't be said here: {preference.NO_REWARDS}")
    if it.get("diffusion") is not None:
        raise RefusedError("diffusion: only models that say one token after another are trained")
    for name in ("reward_model", "process_reward_model", "num_labels"):
        if is_on(it.get(name)) or (name == "num_labels" and it.get(name) is not None):
            raise RefusedError(
                f"{name}: models of rewards and classifiers of Axolotl aren't converted",
                "a classifier is `task: classification` here",
            )
    if objective_:
        preference.prefer(it, objective_, "rl", _PREFERRED)
        if objective_ == "simpo":
            preference.usual(it, "beta", 0.1, "rl_beta")
            preference.usual(it, "gamma", 0.5, "simpo_gamma")
            preference.usual(it, "sftWeight", 1.0, "cpo_alpha")
        it.read("training.preference.objective", "dpo_loss_type", lambda value: _loss(it, value))
    it.rest("it is off, or of another objective")


def _loss(it: Group, value: Any) -> Any:
    """dpo_loss_type: a list of losses."""
    names = of_texts(value)
    if it.get("rl") == "dpo" and names in (["sigmoid"], ["ipo"]):
        return "ipo" if names == ["ipo"] else "dpo"
    raise UnsaidError("training.preference.objective is one of dpo, ipo, orpo, kto, simpo")


def packing(value: Any) -> Any:
    """sample_packing: without it, rows are never joined."""
    return "Always" if flag(value) else None


def excess(value: Any) -> Any:
    """excess_length_strategy; drop is Axolotl's own."""
    ours = {"truncate": "Cut", "raise": "Refuse"}
    if value not in ours:
        raise UnsaidError("rows that are too long are cut here, not left out")
    return ours[value]


def inputs(value: Any) -> Any:
    """train_on_inputs: the loss counts the prompt, too."""
    return "All" if flag(value) else "Completion"


_LENGTH = arguments.length(epochs="num_epochs", usual=1)
_EVALUATIONS = arguments.evaluations(implied=True)
_SCHEDULER = arguments.scheduler("lr_scheduler", usual="cosine")

FIELDS: dict[str, Field] = {
    **arguments.COMMON,
    # The model.
    "base_model": to("model.uri", places.model),
    "revision_of_model": to("model.revision", text),
    "lora_model_dir": lost("going on from an adapter is model.adapter.uri, in S3"),
    **several(
        "base_model_config cls_model_config tokenizer_config tokenizer_type "
        "model_type type_of_model tokenizer_use_fast tokenizer_legacy is_falcon_derived_model "
        "is_llama_derived_model is_mistral_derived_model is_qwen_derived_model "
        "tokenizer_use_mistral_common tokenizer_save_jinja_files "
        "experimental_skip_move_to_device",
        moot("classes and tokenizer follow from the model's own files"),
    ),
    **several(
        "special_tokens tokens added_tokens_overrides resize_token_embeddings_to_32x "
        "mean_resizing_embeddings shrink_embeddings fix_untrained_tokens "
        "embeddings_skip_upcast",
        lost(lora.TOKENS),
    ),
    **several(
        "overrides_of_model_config overrides_of_model_kwargs rope_scaling reinit_weights "
        "model_quantization_config model_quantization_config_kwargs use_onebitllms gptq "
        "quantize_moe_experts gptq_groupsize gptq_model_v1 gptq_disable_exllama model_config "
        "llama4_linearized_experts noisy_embedding_alpha",
        lost("the model is loaded as its files say"),
    ),
    **several("processor_type processor_kwargs", lost("only text is learnt")),
    # The data.
    **several(
        DATA,
        group(
            data,
            "dataset.uri",
            "dataset.columns",
            "dataset.template",
            "dataset.train",
            "dataset.eval",
            "dataset.evalFraction",
            "dataset.mix",
            "dataset.revision",
            "dataset.chatTemplate.text",
            "task",
        ),
    ),
    "train_on_inputs": to("dataset.lossOn", inputs),
    "dataset_exact_deduplication": to("dataset.deduplicate", flag),
    "sequence_len": to("training.maxLength", whole, default=512),
    "excess_length_strategy": to("dataset.longRows", excess),
    "eval_sequence_len": lost("evaluation cuts rows at training.maxLength"),
    "sample_packing": to("training.packing", packing),
    **several(_BATCHING, moot("rows are packed by the trainer's own rule")),
    **several(
        "shuffle_merged_datasets shuffle_before_merging_datasets curriculum_sampling",
        lost("the seed decides the order of rows", True),
    ),
    **several(
        "dataset_prepared_path dataset_shard_num dataset_shard_idx skip_prepare_dataset "
        "num_dataset_shards_to_save dataset_processes dataset_num_proc dataset_keep_in_memory "
        "is_preprocess preprocess_iterable hf_use_auth_token push_dataset_to_hub "
        "dataset_exact_deduplication_keep",
        moot(arguments.LOADED),
    ),
    **several("min_sample_len max_prompt_len", lost("rows are cut, and none is left out")),
    **several(
        "use_pose pose_split_on_token_ids pose_max_context_len pose_num_chunks",
        lost("positions aren't skipped"),
    ),
    # The method.
    **several("adapter load_in_4bit load_in_8bit bnb_config_kwargs", group(method, *_METHOD)),
    "lora_r": to("method.lora.rank", whole),
    "lora_alpha": to("method.lora.alpha", number),
    "lora_dropout": to("method.lora.dropout", number),
    "lora_target_modules": to("method.lora.targetModules", lora.modules),
    "lora_target_linear": to(
        "method.lora.targetModules", lambda value: ["all-linear"] if flag(value) else None
    ),
    "lora_modules_to_save": to("method.lora.modulesToSave", words),
    "lora_rank_pattern": to("method.lora.rankPattern", lora.ranks),
    "lora_alpha_pattern": to("method.lora.alphaPattern", lora.alphas),
    "peft_use_dora": to("method.lora.dora", flag),
    "peft_use_rslora": to("method.lora.rankStabilized", flag),
    "peft_init_lora_weights": heard(lora.initial),
    "merge_lora": to("method.merge", lambda value: flag(value) or None),
    **several(
        "loraplus_lr_ratio loraplus_lr_embedding embedding_lr embedding_lr_scale lr_groups",
        lost(lora.SPLIT_RATES),
    ),
    **several("peft_layers_to_transform peft_layers_pattern", lost(lora.LAYERS)),
    **several(
        "lora_target_parameters peft_trainable_token_indices peft_layer_replication "
        "peft_ensure_weight_tying",
        lost("modules get updates, whole and once"),
    ),
    "peft": lost(lora.INITIALISED),
    **several(
        "relora relora_prune_ratio relora_prune_method relora_cpu_offload "
        "jagged_restart_steps jagged_restart_warmup_steps jagged_restart_anneal_steps "
        "lisa_n_layers lisa_step_interval lisa_layers_attribute unfrozen_parameters "
        "freeze_mm_modules",
        lost("which weights are trained is the method's alone"),
    ),
    **several(
        "lora_fan_in_fan_out peft_autocast_adapter_dtype qlora_sharded_model_loading "
        "merge_method save_safetensors",
        moot(arguments.BY_ITSELF),
    ),
    # The training.
    "learning_rate": to("training.learningRate", number),
    **several(
        "max_steps num_epochs warmup_steps warmup_ratio",
        group(_LENGTH, "training.maxSteps", "training.epochs", "training.warmupRatio"),
    ),
    "micro_batch_size": to("training.perDeviceBatchSize", whole, default=1),
    "batch_size": lost("it follows: micro_batch_size × gradient_accumulation_steps × GPUs"),
    "eval_batch_size": to("evaluation.batchSize", whole),
    "optimizer": to("training.optimizer", text, default="adamw_torch_fused"),
    **several(
        "lr_scheduler lr_scheduler_kwargs",
        group(
            _SCHEDULER,
            "training.scheduler",
            "training.schedulerOptions.cycles",
            "training.schedulerOptions.power",
            "training.schedulerOptions.minLearningRate",
        ),
    ),
    **several(
        "eta_min cosine_min_lr_ratio cosine_constant_lr_ratio lr_div_factor lr_quadratic_warmup",
        lost("training.scheduler and schedulerOptions say the course of the rate"),
    ),
    **several("bf16 fp16", group(arguments.precision, "training.precision")),
    **several("bfloat16 float16 float32", lost("training.precision says it: bf16, fp16, fp32")),
    **several(
        "fp8 fp8_enable_fsdp_float8_all_gather qat quantization",
        lost("training is in fp32, bf16 or fp16"),
    ),
    **several(
        "eval_strategy evaluation_strategy eval_steps load_best_model_at_end "
        "metric_for_best_model greater_is_better early_stopping_patience",
        group(
            _EVALUATIONS,
            "training.evalEverySteps",
            "training.earlyStopping.patience",
            "training.earlyStopping.metric",
        ),
    ),
    "evals_per_epoch": lost(arguments.BY_STEPS.format("evalEverySteps")),
    "saves_per_epoch": lost(arguments.BY_STEPS.format("saveEverySteps")),
    **several("save_strategy save_steps", group(arguments.saving, "training.saveEverySteps")),
    "save_first_step": moot(arguments.GOES_ON),
    "auto_resume_from_checkpoints": moot(arguments.GOES_ON),
    **several(
        "loss_watchdog_threshold loss_watchdog_patience",
        lost("a loss that is no number ends the training; a high one doesn't"),
    ),
    **several(
        "use_eaft eaft_alpha eaft_k scaling_softmax scaling_softmax_factor scaling_softmax_bias",
        lost("a loss of your own is training.loss"),
    ),
    **several(
        "adam_beta3 adam_eps adam_epsilon2 torchdistx_path dion_lr dion_momentum "
        "dion_rank_fraction dion_rank_multiple_of qgalore_rank qgalore_update_proj_gap "
        "qgalore_scale qgalore_proj_type qgalore_proj_quant qgalore_proj_bits "
        "qgalore_proj_group_size qgalore_cos_threshold qgalore_gamma_proj "
        "qgalore_queue_size",
        lost("optimisers have transformers' defaults"),
    ),
    **several(
        "do_causal_lm_eval eval_causal_lm_metrics do_bench_eval bench_dataset bench_split "
        "eval_table_size eval_max_new_tokens",
        lost("evaluation.metrics and evaluation.maxNewTokens say what is measured"),
    ),
    **several(
        "generate_samples num_generation_samples generation_max_new_tokens "
        "generation_temperature generation_top_p generation_top_k "
        "generation_prompt_ratio generation_do_sample",
        lost("answers side by side lie with the result, not with each step"),
    ),
    # What is learnt.
    **several(
        f"rl reward_model process_reward_model num_labels diffusion dpo_loss_type {_OF_PREFERENCE}",
        group(objective, *preference.TARGETS),
    ),
    **several(
        "precompute_ref_log_probs dpo_use_liger_kernel dpo_padding_free dpo_use_logits_to_keep",
        moot(preference.OF_REFERENCE),
    ),
    **several(
        "dpo_use_weighting dpo_loss_weights dpo_norm_loss dpo_generate_during_eval "
        "max_prompt_length center_rewards_coefficient",
        lost("training.preference says what is learnt of answers"),
    ),
    **several("trl vllm ebft", lost(preference.NO_REWARDS)),
    # Where, and what is told.
    **several(
        "fsdp_version fsdp_final_state_dict_type deepcompile dp_shard_size dp_replicate_size",
        moot(sharing.OWN),
    ),
    **several(
        "sequence_parallel_degree context_parallel_size tensor_parallel_size "
        "heads_k_stride ring_attn_func expert_parallel_size",
        lost(sharing.BY_PARTS),
    ),
    **several(
        "ddp world_size device device_map max_memory gpu_memory_limit capabilities "
        "env_capabilities use_ray ray_run_name ray_num_workers resources_per_worker",
        moot(arguments.PROCESSES),
    ),
    **several(_TRACKERS, group(trackers.configured, *trackers.TARGETS)),
    **several(_OTHER_TRACKERS, lost(trackers.OTHERS)),
    **several(_KERNELS, moot(arguments.KERNEL)),
    **several(
        "gradio_title gradio_share gradio_server_name gradio_server_port "
        "gradio_max_new_tokens gradio_temperature use_tensorboard profiler_steps "
        "profiler_steps_start include_tkps strict axolotl_config_path debug "
        "dynamic_checkpoint fp32_norms fp32_norm_classes",
        moot(arguments.WATCHED),
    ),
    "plugins": lost("no plugins: kernels are the trainer's own, losses are training.loss"),
    "trainer_cls": lost("the training's loop is the trainer's own"),
    "s2_attention": lost("attention is the model's own"),
    "default_system_message": lost("a row says its own system message"),
    "chat_template_kwargs": lost("dataset.chatTemplate is written without further values"),
    "eot_tokens": lost("an answer ends as the chat template ends it"),
}


def convert(given: dict[str, Any], _: Any) -> list[Draft]:
    """A FineTuneJob."""
    draft = Draft(
        FINE_TUNE_JOB, named(given, "mlflow_run_name", "wandb_name", "output_dir", "base_model")
    )
    walk(FIELDS, given, draft)
    on_gpu(draft)
    return [draft]


SOURCE = Source(
    "axolotl",
    "Axolotl",
    {"FineTuneJob": {"": FIELDS}},
    convert,
    marks=("base_model",),
)
