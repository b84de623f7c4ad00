"""The PyTorchJob that `train()` of Kubeflow's Training Operator made."""

import json
from collections.abc import Mapping
from typing import Any

from luthier_cli.convert import lora, places
from luthier_cli.convert import training_arguments as arguments
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Field, Group, group, lost, moot, several, to, walk
from luthier_cli.convert.source import RefusedError
from luthier_cli.convert.values import choice, flag, number, table, text, whole, words


def _bucket(it: Group) -> None:
    bucket, key = it.get("bucket_name"), it.get("file_key")
    if isinstance(bucket, str) and isinstance(key, str):
        it.put("dataset.uri", f"s3://{bucket}/{key.lstrip('/')}", "bucket_name")
        it.same("file_key", "dataset.uri")
    it.rest("it names no file")


FIELDS: dict[str, Field] = {
    "model_uri": to("model.uri", places.model),
    "transformer_type": to(
        "task",
        choice(
            {
                "automodelforcausallm": "generation",
                "automodelforsequenceclassification": "classification",
                "automodelfortokenclassification": "extraction",
            },
            "no such model is trained here",
        ),
    ),
    "num_labels": moot("labels are counted in the data"),
    **several(
        "model_dir dataset_dir model_provider dataset_provider model_provider_parameters "
        "dataset_provider_parameters lora_config training_parameters",
        moot("each of its fields is told by itself"),
    ),
    **several(
        "access_token access_key secret_key",
        lost("a Secret holds it: storage.secretName, model.tokenSecretRef"),
    ),
    **several("endpoint_url region_name", lost("the store is the platform's, or the namespace's")),
    "repo_id": to("dataset.uri", places.dataset),
    "split": to("dataset.train", lambda value: None if value == "train" else text(value)),
    **several("bucket_name file_key", group(_bucket, "dataset.uri")),
}
LORA: dict[str, Field] = {
    "r": to("method.lora.rank", whole, default=8),
    "lora_alpha": to("method.lora.alpha", number, default=8),
    "lora_dropout": to("method.lora.dropout", number),
    "target_modules": to("method.lora.targetModules", lora.modules),
    "modules_to_save": to("method.lora.modulesToSave", words),
    "bias": to("method.lora.bias"),
    "use_rslora": to("method.lora.rankStabilized", flag),
    "use_dora": to("method.lora.dora", flag),
    "rank_pattern": to("method.lora.rankPattern", lora.ranks),
    "alpha_pattern": to("method.lora.alphaPattern", lora.alphas),
    **several("layers_to_transform layers_pattern exclude_modules", lost(lora.LAYERS)),
    **several(
        "init_lora_weights loftq_config eva_config corda_config", lost(lora.INITIALISED, True)
    ),
    **several(
        "peft_type task_type inference_mode base_model_name_or_path revision auto_mapping "
        "fan_in_fan_out megatron_config megatron_core runtime_config layer_replication "
        "lora_bias trainable_token_indices target_parameters peft_version qalora_group_size "
        "use_qalora alora_invocation_tokens arrow_config ensure_weight_tying",
        moot(arguments.BY_ITSELF),
    ),
}


def read(draft: Draft, spec: Mapping[str, Any]) -> None:
    """A PyTorchJob. Raises RefusedError."""
    replicas = table(spec.get("pytorchReplicaSpecs"))
    counts = [table(it).get("replicas", 1) for it in replicas.values()]
    nodes = sum(it for it in counts if isinstance(it, int) and not isinstance(it, bool))
    pod = table(table(table(next(iter(replicas.values()), {})).get("template")).get("spec"))
    given: dict[str, Any] = {}
    for container in (*_listed(pod.get("initContainers")), *_listed(pod.get("containers"))):
        given.update(_arguments(table(container).get("args")))
    if "training_parameters" not in given and "model_uri" not in given:
        raise RefusedError(
            "its program is a script of yours, whose training isn't known",
            "PyTorchJobs of Kubeflow's train() are converted",
        )
    for name in ("model_provider_parameters", "dataset_provider_parameters"):
        given.update({key: it for key, it in _json(given.get(name)).items() if key not in given})
    walk(FIELDS, given, draft, "--")
    tuned = _json(given.get("lora_config"))
    draft.put("method.type", "lora" if tuned else "full", "--lora_config", given.get("lora_config"))
    if tuned:
        walk(LORA, tuned, draft, "--lora_config.")
    walk(
        arguments.TRAINING_ARGUMENTS,
        _json(given.get("training_parameters")),
        draft,
        "--training_parameters.",
    )
    if nodes > 1:
        draft.put("placement.nodes", nodes, "spec.pytorchReplicaSpecs", nodes)
    for name in spec.keys() - {"pytorchReplicaSpecs"}:
        draft.lost(f"spec.{name}", spec[name], "limits and placement say how a run is carried out")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _arguments(args: Any) -> dict[str, Any]:
    found, name = {}, ""
    for word in _listed(args):
        if isinstance(word, str) and word.startswith("--"):
            name = word[2:]
        elif name:
            found[name], name = word, ""
    return found


def _json(value: Any) -> dict[str, Any]:
    """JSON in an argument, sometimes in quotes of a shell."""
    try:
        return table(json.loads(str(value).strip().strip("'"))) if value is not None else {}
    except (ValueError, RecursionError):
        return {}
