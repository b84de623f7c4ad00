"""Olive's passes that make a package: which precisions they come to, and what their options are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Field, lost, moot, several, to, walk
from luthier_cli.convert.source import RefusedError
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import choice, flag, table, whole


@dataclass(frozen=True)
class Pass:
    """A pass of a configuration."""

    name: str
    given_type: str
    config: Mapping[str, Any]

    @property
    def type(self) -> str:
        """Its type, as it is compared."""
        return self.given_type.lower()


_OF_EACH = (
    "type",
    "config",
    "host",
    "evaluator",
    "disable_search",
    "clean_run_cache",
    "output_name",
    "session_params_tuning",
)


def read(given: Mapping[str, Any]) -> list[Pass]:
    """All passes, in their order; of alternatives each. Raises RefusedError."""
    found: list[Pass] = []
    for name, entries in table(given.get("passes")).items():
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
                raise RefusedError(f"passes.{name} has no type", "say which pass it is")
            rest = {key: value for key, value in entry.items() if key not in _OF_EACH}
            found.append(Pass(name, entry["type"], {**rest, **table(entry.get("config"))}))
    return found


_NO_NPU = (
    "packages are for ONNX Runtime on CPU, CUDA and DML: no NPU's, no OpenVINO's, no TensorRT's"
)
_CALIBRATED = "weights are rounded as they are, without calibration; activations as they run"
_GRAPH = "the graph is the exporter's, or onnxruntime-genai's builder's"
_FILES = several(
    "save_as_external_data all_tensors_to_one_file external_data_name size_threshold "
    "convert_attribute target_opset device parallel_jobs past_key_value_name "
    "save_metadata_for_token_generation optimize dynamic use_dynamo_exporter use_forced_io "
    "input_names input_shapes input_types output_names dynamic_axes use_device script_dir "
    "user_script dataloader_func batch_size dummy_inputs_func io_config extra_args "
    "keep_io_types op_block_list op_include_list node_block_list node_include_list "
    "use_symbolic_shape_infer min_positive_val max_finite_val",
    moot("how a graph is written follows from the model"),
)
_FUSED = several(
    "model_type num_heads num_key_value_heads hidden_size optimization_options opt_level use_gpu "
    "only_onnxruntime force_fp32_ops force_fp32_nodes force_fp16_inputs use_gqa input_int32 "
    "replace_attn_mask_with_gqa world_size use_onnxruntime",
    moot("fusions follow from the architecture"),
)
_TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_ALGORITHMS = {
    "rtn": "rtn", "default": "default", "k_quant": "k_quant", "k_quant_mixed": "k_quant_mixed",
    "k_quant_last": "k_quant_last", "rtn_last": "rtn_last", "k_quant_linear": "k_quant",
}  # fmt: skip


def block(value: Any) -> Any:
    """A block's size; −1 is a whole channel."""
    size = whole(value)
    return (
        size if size > 0 else choice({}, "a scale is of 16 to 256 weights, not of a channel")(value)
    )


_ALGORITHM = choice(_ALGORITHMS, "it calibrates, or isn't onnxruntime's: int4.algorithm has others")
_INT4: dict[str, Field] = {
    **several("block_size int4_block_size group_size", to("int4.blockSize", block)),
    **several("is_symmetric int4_is_symmetric symmetric sym", to("int4.symmetric", flag)),
    **several(
        "algorithm int4_algo_config weight_only_quant_configs", to("int4.algorithm", _ALGORITHM)
    ),
    **several(
        "accuracy_level int4_accuracy_level", moot("the builder's own; int8 in onnx packages")
    ),
    **several(
        "nodes_to_exclude nodes_to_include int4_nodes_to_exclude int4_op_types_to_quantize "
        "customized_weight_config op_types_to_quantize overrides lm_head embeds axis "
        "quant_axes modules_in_block_to_quantize layers_block_name overrides_config",
        lost("which layers keep more bits is int4.algorithm's choice: k_quant_mixed"),
    ),
    **several("bits precision quant_format use_qdq", moot("the precision says it")),
}
_QUANTIZATION: dict[str, Field] = {
    **_FILES,
    **several("weight_type quant_mode precision", moot("the precision says it")),
    "activation_type": lost(_CALIBRATED),
    **several(
        "per_channel reduce_range quant_format quant_preprocess extra_options "
        "nodes_to_quantize nodes_to_exclude op_types_to_quantize op_types_to_exclude "
        "MatMulConstBOnly append_first_op_types_to_quantize_list weight_only_quant_configs "
        "prepare_qdq_config tensor_quant_overrides recipes approach backend domain "
        "workspace diagnosis accuracy_criterion tuning_criterion metric "
        "optimization_level quantizers_type act_sym group_size scheme bits "
        "calibration_sampling_size",
        moot("onnxruntime's own settings for a model of text"),
    ),
    **several(
        "calibrate_method calibration_providers calibration_data_config data_config "
        "calibrate_dataset dataset calib_data dataloader",
        lost(_CALIBRATED),
    ),
}
_BUILDER: dict[str, Field] = {
    **_INT4,
    **_FILES,
    "precision": moot("it is in precisions"),
    "metadata_only": moot("a package has its own metadata"),
    **several(
        "search use_8bits_moe use_webgpu_fp32 use_cuda_bf16 include_hidden_states "
        "exclude_embeds exclude_lm_head enable_cuda_graph extra_options",
        lost("a package runs by itself, as onnxruntime-genai's builder makes it"),
    ),
}
_WEIGHTS: dict[str, Field] = {
    **_INT4,
    **several(
        "data_config train_data_config dataset damp_percent desc_act static_groups "
        "true_sequential calib_data moe_fallback_threshold moe_fallback_min_k_multiple "
        "device backend format zero_point q_group_size w_bit version duo_scaling "
        "modules_to_not_convert inside_layer_modules outside_layer_modules mse "
        "input_model_dtype quant_method export_pack rtn",
        lost(_CALIBRATED),
    ),
}
_EXPORT: dict[str, Field] = {
    **_FILES,
    "torch_dtype": moot("it is in precisions"),
    "merge_adapter_weights": to("adapter", lambda value: "Merge" if flag(value) else None),
    "components": lost("a package is one graph"),
    **several("fp16 no_post_process model_variant use_mobius_builder", moot(_GRAPH)),
}
_ADAPTERS: dict[str, Field] = {
    **_FILES,
    "adapter_type": lost("LoRA alone is loaded at run time", "lora"),
    "save_format": lost("adapters are .onnx_adapter files", "onnx_adapter"),
    **several("make_inputs dynamic_lora_r optional_inputs pack_inputs", moot(_GRAPH)),
}

# Passes with a counterpart, and the precision that they come to; "" leaves it as it is.
_KNOWN: dict[str, tuple[dict[str, Field], str]] = {
    "onnxconversion": (_EXPORT, "fp32"),
    "optimumconversion": (_EXPORT, "fp32"),
    "modelbuilder": (_BUILDER, "fp32"),
    "orttransformersoptimization": (
        {**_FILES, **_FUSED, "float16": moot("it is in precisions")},
        "",
    ),
    "onnxfloattofloat16": (_FILES, "fp16"),
    "ortmixedprecision": (_FILES, "fp16"),
    "onnxquantization": (_QUANTIZATION, "int8"),
    "onnxdynamicquantization": (_QUANTIZATION, "int8"),
    "onnxstaticquantization": (_QUANTIZATION, "int8"),
    "incquantization": (_QUANTIZATION, "int8"),
    "incdynamicquantization": (_QUANTIZATION, "int8"),
    "incstaticquantization": (_QUANTIZATION, "int8"),
    "onnxmatmul4quantizer": ({**_INT4, **_FILES}, "int4"),
    "onnxblockwisertnquantization": ({**_INT4, **_FILES}, "int4"),
    "onnxkquantquantization": ({**_INT4, **_FILES}, "int4"),
    "gptq": (_WEIGHTS, "int4"),
    "gptqquantizer": (_WEIGHTS, "int4"),
    "gptqmodel": (_WEIGHTS, "int4"),
    "autoawqquantizer": (_WEIGHTS, "int4"),
    "awq": (_WEIGHTS, "int4"),
    "rtn": (_WEIGHTS, "int4"),
    "kquant": (_WEIGHTS, "int4"),
    "extractadapters": (_ADAPTERS, ""),
    "mergeadapterweights": (_FILES, ""),
}
_ALGORITHM_OF = {
    "onnxblockwisertnquantization": "rtn",
    "rtn": "rtn",
    "onnxkquantquantization": "k_quant",
    "kquant": "k_quant",
}
_OTHER_ALGORITHM = ("gptq", "gptqquantizer", "gptqmodel", "autoawqquantizer", "awq")
# Passes without which nothing is lost.
_MOOT = {
    "onnxpeepholeoptimizer": _GRAPH, "onnxopversionconversion": _GRAPH, "optimummerging": _GRAPH,
    "onnxscriptfusion": _GRAPH, "insertbeamsearch": _GRAPH, "onnxmodeloptimizer": _GRAPH,
    "onnxquantizationpreprocess": _GRAPH, "addolivemetadata": _GRAPH, "capturesplitinfo": _GRAPH,
    "savetestmodelconfig": "a try is `--set evaluation.maxSamples=…`",
    "onnxdiscrepancycheck": "each candidate is measured: gates.maxLogitsDifference",
    "capturelayerannotations": _GRAPH,
}  # fmt: skip
_LOST = {
    "ortperftuning": "threads and the like are whoever runs it to choose",
    "ortsessionparamstuning": "threads and the like are whoever runs it to choose",
    "onnxbnb4quantization": "4 bits are integers in blocks: int4",
    "onnxhqqquantization": "int4.algorithm has others than HQQ",
    "quarot": "weights aren't rotated before they are rounded",
    "spinquant": "weights aren't rotated before they are rounded",
    "matmulnbitstoqdq": "QDQ is for NPUs",
    "graphsurgeries": "a graph isn't changed by name",
    "selectivemixedprecision": "int4.algorithm: k_quant_mixed keeps more bits where they matter",
    "mixedprecisionoverrides": "which layers keep more bits is int4.algorithm's choice",
    "sparsegpt": "weights aren't pruned", "slicegpt": "weights aren't pruned",
    "quantizationawaretraining": "training is in fp32, bf16 or fp16",
    "splitmodel": "a model isn't split over devices",
    "composeonnxmodels": "a package is one graph",
    "dynamictofixedshape": "graphs take any number of rows and tokens",
    "onnxiodatatypeconverter": "inputs and outputs are as exported",
    "converthftogguf": "no GGUF is written",
}  # fmt: skip
TABLES = {f"passes.{name}.": fields for name, (fields, _) in _KNOWN.items()}


def has_counterpart(it: Pass) -> bool:
    """Whether an OptimizeJob does what it does."""
    return it.type in _KNOWN


def build(draft: Draft, passes: list[Pass], has_adapter: bool) -> None:
    """The precisions that the passes come to, and their options."""
    alternatives: dict[str, list[str]] = {}
    precision = ""
    for it in passes:
        if it.type not in _KNOWN:
            tell_lost(draft, it)
            continue
        fields, comes_to = _KNOWN[it.type]
        found = _precision(it, comes_to)
        walk(fields, _without_searched(draft, it), draft, f"passes.{it.name}.")
        _tell(draft, it, found, has_adapter)
        if found:
            alternatives.setdefault(it.name, []).append(found)
            precision = found
    same = next((names for names in alternatives.values() if len(set(names)) > 1), None)
    precisions = list(dict.fromkeys(same or ([precision] if precision else ["fp32"])))
    draft.put("precisions", precisions, "passes", fate=Fate.SAME)
    if "int4" not in precisions:
        draft.drop(("int4",), "no candidate has 4 bits", Fate.MOOT)


def _without_searched(draft: Draft, it: Pass) -> dict[str, Any]:
    """Options with one value; those that are searched are told."""
    kept = {}
    for name, value in it.config.items():
        searched = value in ("SEARCHABLE_VALUES", "DEFAULT_SEARCH") or (
            isinstance(value, dict) and "support" in value
        )
        if searched:
            draft.lost(
                f"passes.{it.name}.{name}",
                value,
                "an OptimizeJob builds one candidate for each of its precisions",
            )
        elif value not in ("DEFAULT", "DEFAULT_VALUE"):
            kept[name] = value
    return kept


def _precision(it: Pass, comes_to: str) -> str:
    config = it.config
    if it.type == "modelbuilder":
        given = str(config.get("precision") or comes_to).lower()
        return "" if config.get("metadata_only") is True else _named(given)
    if it.type in ("onnxconversion", "optimumconversion"):
        return _TYPES.get(str(config.get("torch_dtype") or "").lower(), comes_to)
    if it.type == "orttransformersoptimization":
        return "fp16" if config.get("float16") is True else ""
    if comes_to in ("int8", "int4"):
        bits, kind = config.get("bits") or config.get("w_bit"), config.get("weight_type")
        named = str(config.get("precision") or kind or "").lower().replace("q", "")
        return {4: "int4", 8: "int8"}.get(bits if isinstance(bits, int) else 0) or {
            "int4": "int4",
            "uint4": "int4",
            "int8": "int8",
            "uint8": "int8",
        }.get(named, comes_to)
    return comes_to


def _named(name: str) -> str:
    return name if name in ("fp32", "fp16", "bf16", "int8", "int4") else "fp32"


def _tell(draft: Draft, it: Pass, found: str, has_adapter: bool) -> None:
    where = f"passes.{it.name}"
    if it.type == "extractadapters" and has_adapter:
        draft.put("adapter", "Separate", where, it.given_type)
    elif it.type == "extractadapters":
        draft.lost(
            where, it.given_type, "there is no adapter to keep apart: an AdapterBundle has many"
        )
    elif it.type == "mergeadapterweights":
        draft.put("adapter", "Merge", where, it.given_type)
    elif it.type in _OTHER_ALGORITHM:
        draft.tell(
            where,
            it.given_type,
            Fate.DIFFERS,
            "spec.precisions",
            f"{found}, rounded by int4.algorithm: weights aren't calibrated",
        )
    elif it.type in _ALGORITHM_OF and found == "int4":
        draft.put("int4.algorithm", _ALGORITHM_OF[it.type], where, it.given_type)
    elif (
        it.type == "modelbuilder"
        and found != str(it.config.get("precision") or "fp32").lower()
        and found
    ):
        draft.lost(f"{where}.precision", it.config.get("precision"), "it is none of precisions")
    else:
        draft.tell(where, it.given_type, Fate.SAME, "spec.precisions")


def tell_lost(draft: Draft, it: Pass) -> None:
    """A pass that has no counterpart."""
    where = f"passes.{it.name}"
    if it.type in _MOOT:
        draft.moot(where, it.given_type, _MOOT[it.type])
    else:
        draft.lost(where, it.given_type, _LOST.get(it.type, _NO_NPU))
