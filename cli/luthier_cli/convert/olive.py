"""Olive's configurations, of each of its schemas: a model, systems, data, passes, an engine.

Passes that train become a FineTuneJob, all others together an OptimizeJob of its result.
"""

from collections.abc import Mapping
from typing import Any

from luthier_api.kinds import FINE_TUNE_JOB, OPTIMIZE_JOB
from luthier_cli.convert import olive_data, olive_passes, olive_tuning, places
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Field, Group, group, lost, moot, several, to, walk
from luthier_cli.convert.olive_passes import Pass
from luthier_cli.convert.source import Beside, RefusedError, Source, named, on_gpu
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import table

TASKS = {
    "text-generation": "generation",
    "text-generation-with-past": "generation",
    "text2text-generation": "generation",
    "text-classification": "classification",
    "token-classification": "extraction",
    "ner": "extraction",
    "summarization": "summarization",
    "feature-extraction": "similarity",
    "sentence-similarity": "similarity",
}
_NOT_TEXT = "only models of text that transformers knows are read: folders of safetensors"
_MODELS = ("hfmodel", "pytorchmodel", "")
_DEVICES = {"cpu": "cpu", "gpu": "cuda"}
_PROVIDERS = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}


def target(it: Group) -> None:
    """What the package runs on: of the engine's target, or of the only system."""
    systems = table(it.get("systems"))
    name = it.get("target") or it.get("host")
    system = table(name) or table(systems.get(str(name))) or table(next(iter(systems.values()), {}))
    system = system | table(system.get("config"))
    accelerators = system.get("accelerators")
    first = accelerators[0] if isinstance(accelerators, list) and accelerators else {}
    given = table(first) if isinstance(first, dict) else {"device": first}
    providers = given.get("execution_providers") or it.get("execution_providers") or []
    listed = providers if isinstance(providers, list) else [providers]
    names = [p[0] if isinstance(p, list) and p else p for p in listed]
    known = [p for p in names if isinstance(p, str) and p in _PROVIDERS]
    if it.draft.kind is FINE_TUNE_JOB:
        if given.get("device") == "cpu":
            it.draft.put("placement.gpus", 0, "systems", fate=Fate.SAME)
        return
    device = _PROVIDERS[known[0]] if known else _DEVICES.get(str(given.get("device") or "cpu"))
    where = "systems"
    if device is None or (names and not known):
        it.draft.lost(
            where,
            [str(n) for n in names] or given.get("device"),
            "packages are for the providers of CPU, CUDA and DML",
        )
    elif device != "cpu":
        it.draft.put("target.device", device, where, given.get("device") or known[0])
        it.draft.put("placement.gpus", 1, why="it is measured where it runs", fate=Fate.DIFFERS)
    if known and known[0] != "CPUExecutionProvider":
        it.draft.put("target.provider", known[0], where, known[0])
    others = [str(n) for n in names if n not in known[:1]]
    if known and others:
        it.draft.lost(where, others, "a package is for one provider: write a manifest for each")
    if given.get("memory") is not None:
        it.draft.lost(f"{where}.memory", given["memory"], "gates.maxMemory says what it may need")


def systems(it: Group) -> None:
    """Systems, and which is meant."""
    target(it)
    for name, system in table(it.get("systems")).items():
        kind = str(table(system).get("type") or "LocalSystem").lower()
        if kind not in ("localsystem", "pythonenvironment", "system"):
            it.draft.lost(f"systems.{name}", kind, "where it runs is placement.pool")
    it.rest("where it runs is placement's")


# Of the engine: below `engine` in older schemas, at the top in newer ones.
_ENGINE: dict[str, Field] = {
    "output_dir": to("output.uri", arguments.output),
    **several(
        "output_name workflow_id azureml_client auto_optimizer_config log_severity_level "
        "ort_log_severity_level ort_py_log_severity_level log_to_file verbose "
        "max_concurrent_builds",
        moot("names and logs are the run's own"),
    ),
    **several(
        "cache_dir clean_cache clean_evaluation_cache cache_config enable_shared_cache "
        "no_artifacts evaluate_input_model plot_pareto_frontier workflow_host",
        moot("what was built is kept beside the result; the source is always measured"),
    ),
    "packaging_config": lost("the package is a folder in S3: what packages it further is yours"),
    "pass_flows": lost("an OptimizeJob builds one candidate for each of its precisions"),
    "builds": lost("write a manifest for each build"),
}


def _model_fields(uri: str) -> dict[str, Field]:
    """Of input_model: the model goes to `uri`."""
    return {
        **several("model_path model_name name", to(uri, places.model)),
        "task": moot("task says what the model is to do"),
        **several(
            "type is_hf hf_config config generative io_config dummy_inputs_func "
            "model_file_format kv_cache is_trt_ep_enabled framework model_class "
            "use_ort_implementation is_file",
            moot("the model's own files say what it is"),
        ),
        **several(
            "model_script script_dir model_loader custom_components components",
            lost("no code of yours loads a model"),
        ),
        "adapter_path": lost(
            "it is source.adapterUri (OptimizeJob) or model.adapter (FineTuneJob)"
        ),
        "trust_remote_code": lost("models are those that transformers knows"),
        **several(
            "load_kwargs from_pretrained_args loading_args attn_implementation "
            "_attn_implementation torch_dtype dtype model_loading_args",
            lost("the model is loaded as its files say", "sdpa", "eager", "auto"),
        ),
        **several(
            "model_attributes mlflow_transformer_model_cache_dir dataset test_model_config "
            "test_model_path additional_files",
            moot("it is for Olive's own steps"),
        ),
    }


MODEL_OF_TUNING = _model_fields("model.uri")
MODEL_OF_PACKAGE = _model_fields("source.modelUri")
_TOP: dict[str, Field] = {
    **_ENGINE,
    **several(
        "engine input_model passes data_configs evaluators evaluator search_strategy "
        "data_root auto_optimizer_config",
        moot("each of its fields is told by itself"),
    ),
}


_SYSTEMS = "host target execution_providers systems"
TOP_OF_TUNING = {**_TOP, **several(_SYSTEMS, group(systems, "placement.gpus"))}
TOP_OF_PACKAGE = {
    **_TOP,
    **several(_SYSTEMS, group(systems, "target.device", "target.provider", "placement.gpus")),
}


def model(given: Mapping[str, Any]) -> dict[str, Any]:
    """input_model, flat. Raises RefusedError where it isn't a model of text."""
    outer = table(given.get("input_model"))
    kind = str(outer.get("type") or "").lower()
    if kind not in _MODELS:
        raise RefusedError(f"input_model is a {outer['type']}: {_NOT_TEXT}")
    flat = {**outer, **table(outer.get("config"))}
    flat.update(table(flat.get("hf_config")))
    for name in ("load_kwargs", "from_pretrained_args"):
        inner = table(flat.get(name))
        if inner and set(inner) <= {
            "trust_remote_code",
            "attn_implementation",
            "_attn_implementation",
            "torch_dtype",
            "dtype",
        }:
            flat.pop(name)
            flat.update(inner)
    if flat.get("model_script") and not (flat.get("model_path") or flat.get("model_name")):
        raise RefusedError("input_model is loaded by code of yours", _NOT_TEXT)
    path = flat.get("model_path")
    if isinstance(path, dict):
        flat["model_path"] = table(path.get("config")).get("name") or path.get("name") or ""
        flat["model_path"] = f"azureml://{flat['model_path']}"
    return {name: it for name, it in flat.items() if name not in ("config", "hf_config", "type")}


def convert(given: dict[str, Any], _: Beside) -> list[Draft]:
    """A FineTuneJob, an OptimizeJob, or both."""
    passes = olive_passes.read(given)
    tuning = [it for it in passes if it.type in olive_tuning.TYPES]
    packaging = [it for it in passes if it.type not in olive_tuning.TYPES]
    if not passes and given.get("auto_optimizer_config") is None:
        raise RefusedError(
            "it has no passes: nothing is to be done",
            "name the passes, or write the OptimizeJob by hand: docs/optimizejob.md",
        )
    known = [it for it in packaging if olive_passes.has_counterpart(it)]
    if packaging and not known and not tuning:
        names = ", ".join(dict.fromkeys(it.given_type for it in packaging))
        raise RefusedError(
            f"none of its passes has a counterpart here: {names}",
            "docs/olive.md tells what an OptimizeJob does",
        )
    flat = model(given)
    name = named(
        {**given, **table(given.get("engine")), **flat},
        "output_name",
        "output_dir",
        "model_path",
        "model_name",
    )
    drafts: list[Draft] = []
    if tuning:
        drafts.append(_fine_tuning(given, flat, tuning, name))
    if known or not passes:
        suffix = "-onnx" if tuning else ""
        drafts.append(_packaging(given, flat, packaging, name + suffix, name if tuning else None))
    elif packaging:
        for it in packaging:
            olive_passes.tell_lost(drafts[0], it)
    _top(given, drafts)
    return drafts


def _fine_tuning(
    given: Mapping[str, Any], flat: dict[str, Any], passes: list[Pass], name: str
) -> Draft:
    draft = Draft(FINE_TUNE_JOB, name)
    walk(MODEL_OF_TUNING, flat, draft, "input_model.")
    draft.put(
        "task",
        TASKS.get(str(flat.get("task")), "generation"),
        "input_model.task",
        flat.get("task"),
        fate=Fate.SAME if flat.get("task") in TASKS else Fate.DEFAULT,
    )
    olive_tuning.tune(draft, passes[0], olive_data.configs(given))
    for it in passes[1:]:
        draft.lost(
            f"passes.{it.name}", it.given_type, "one method trains: write a manifest for each"
        )
    olive_tuning.search(draft, passes[0], _engine(given).get("search_strategy"))
    return draft


def _packaging(
    given: Mapping[str, Any], flat: dict[str, Any], passes: list[Pass], name: str, tuned: str | None
) -> Draft:
    draft = Draft(OPTIMIZE_JOB, name)
    if tuned:
        draft.put(
            "source.fineTuneJobRef",
            {"name": tuned},
            "passes",
            why="the result of the FineTuneJob above, and each newer one",
            fate=Fate.DIFFERS,
        )
    else:
        adapter = flat.pop("adapter_path", None)
        walk(MODEL_OF_PACKAGE, flat, draft, "input_model.")
        if adapter is not None:
            _adapter(draft, adapter)
    olive_passes.build(
        draft, passes, tuned is not None or draft.get("source.adapterUri") is not None
    )
    engine = _engine(given)
    olive_data.evaluate(
        draft, given, engine, TASKS.get(str(flat.get("task")), "generation"), tuned is not None
    )
    return draft


def _adapter(draft: Draft, value: Any) -> None:
    uri = value if isinstance(value, str) and value.startswith("s3://") else "s3://models/ADAPTER"
    draft.put(
        "source.adapterUri",
        uri,
        "input_model.adapter_path",
        value,
        fate=Fate.SAME if uri == value else Fate.FILL,
        why="the adapter's folder, in S3",
    )


def _engine(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**given, **table(given.get("engine"))}


def _top(given: Mapping[str, Any], drafts: list[Draft]) -> None:
    """The rest, told once."""
    engine = table(given.get("engine"))
    whole = {**given, **engine}
    for draft in drafts:
        quiet = draft if draft is drafts[0] else Draft(draft.kind, draft.name, None, draft.spec)
        top = TOP_OF_TUNING if draft.kind is FINE_TUNE_JOB else TOP_OF_PACKAGE
        walk(top, whole, quiet)
        if draft.kind is FINE_TUNE_JOB:
            on_gpu(draft)
        if draft is not drafts[0]:
            draft.told += [it for it in quiet.told if it.target]


SOURCE = Source(
    "olive",
    "Olive",
    {
        "FineTuneJob": {
            "": TOP_OF_TUNING,
            "input_model.": MODEL_OF_TUNING,
            **olive_tuning.TABLES,
            **olive_data.TABLES_OF_TUNING,
        },
        "OptimizeJob": {
            "": TOP_OF_PACKAGE,
            "input_model.": MODEL_OF_PACKAGE,
            **olive_passes.TABLES,
            **olive_data.TABLES_OF_PACKAGE,
        },
    },
    convert,
    marks=("input_model", "passes"),
)
