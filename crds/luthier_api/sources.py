"""What a spec names beside S3: claims and ConfigMaps of its own namespace, and code. Pure."""

from collections.abc import Iterator

from luthier_api.finetuning import FineTuning
from luthier_api.meta import CodeRef


def uris(spec: FineTuning) -> Iterator[tuple[str, str]]:
    """(field, URI) of all that a run reads."""
    yield "model.uri", spec.model.uri
    yield "dataset.uri", spec.dataset.uri
    for index, source in enumerate(spec.dataset.mix):
        yield f"dataset.mix[{index}].uri", source.uri


def code(spec: FineTuning) -> Iterator[tuple[str, CodeRef]]:
    """(field, reference) of the user's own code."""
    if spec.training.loss is not None:
        yield "training.loss", spec.training.loss
    if spec.evaluation.script is not None:
        yield "evaluation.script", spec.evaluation.script


def claims(spec: FineTuning) -> list[str]:
    """PersistentVolumeClaims, each once, in the order of the fields."""
    return list(dict.fromkeys(path.split("/")[0] for path in _below("pvc", spec)))


def config_maps(spec: FineTuning) -> dict[str, list[str]]:
    """ConfigMaps, each with the keys that the run reads."""
    wanted = [path.split("/", 1) for path in _below("configmap", spec)]
    references = [reference.config_map_ref for _, reference in code(spec)]
    wanted += [[reference.name, reference.key] for reference in references]
    found: dict[str, list[str]] = {}
    for name, key in wanted:
        keys = found.setdefault(name, [])
        if key not in keys:
            keys.append(key)
    return found


def _below(scheme: str, spec: FineTuning) -> Iterator[str]:
    prefix = f"{scheme}://"
    return (uri.removeprefix(prefix) for _, uri in uris(spec) if uri.startswith(prefix))
