"""What a spec names beside S3: claims and ConfigMaps of its own namespace, and code. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from luthier_api.adapterbundle import Bundling
from luthier_api.dataset import Dataset
from luthier_api.finetuning import FineTuning
from luthier_api.meta import CodeRef, SecretKeyRef
from luthier_api.optimizejob import OptimizeJobSpec


@dataclass(frozen=True)
class Reads:
    """What a run reads: (field, URI), (field, reference of code), and with which hub's token."""

    uris: tuple[tuple[str, str], ...] = ()
    code: tuple[tuple[str, CodeRef], ...] = ()
    hub_token: SecretKeyRef | None = None
    optional: bool = False  # whether the run goes on without its ConfigMaps

    def claims(self) -> list[str]:
        """PersistentVolumeClaims, each once, in the order of the fields."""
        return list(dict.fromkeys(path.split("/")[0] for path in _below("pvc", self.uris)))

    def config_maps(self) -> dict[str, list[str]]:
        """ConfigMaps, each with the keys that the run reads."""
        wanted = [path.split("/", 1) for path in _below("configmap", self.uris)]
        references = [reference.config_map_ref for _, reference in self.code]
        wanted += [[reference.name, reference.key] for reference in references]
        found: dict[str, list[str]] = {}
        for name, key in wanted:
            keys = found.setdefault(name, [])
            if key not in keys:
                keys.append(key)
        return found


def of_fine_tuning(spec: FineTuning) -> Reads:
    """All that a fine-tuning run reads."""
    return Reads(
        uris=tuple((f"spec.{field}", uri) for field, uri in uris(spec)),
        code=tuple((f"spec.{field}", reference) for field, reference in code(spec)),
        hub_token=spec.model.token_secret_ref,
    )


def of_optimizing(spec: OptimizeJobSpec, name: str = "", source: FineTuning | None = None) -> Reads:
    """All that a run reads that optimises; `source`: what the FineTuneJob `name` asks for.

    The base is loaded and the rows are measured again; code of the user's own isn't run.
    """
    found: list[tuple[str, str]] = []
    token = spec.source.token_secret_ref
    if spec.source.model_uri is not None:
        found.append(("spec.source.modelUri", spec.source.model_uri))
    if source is not None:
        token = source.model.token_secret_ref
        found.append((f"spec.model.uri of FineTuneJob {name}", source.model.uri))
    measured = spec.evaluation
    if measured is not None:
        found += [(f"spec.evaluation.{field}", uri) for field, uri in _rows(measured.dataset)]
    elif source is not None:
        found += [
            (f"spec.{field} of FineTuneJob {name}", uri) for field, uri in _rows(source.dataset)
        ]
    return Reads(tuple(found), (), token)


def of_bundling(spec: Bundling, adapters: Mapping[str, FineTuning]) -> Reads:
    """All that a run reads that builds a bundle; `adapters`: what their FineTuneJobs ask for.

    Each adapter is measured on its own rows. Unless that decides about it, a bundle doesn't
    depend on them: their claims may be gone, or lie where no node reaches them all.
    """
    judged = spec.max_metric_drop is not None
    found = [("spec.base.uri", spec.base.uri)]
    tokens = [spec.base.token_secret_ref]
    for name, source in adapters.items():
        found += [
            (f"spec.{field} of FineTuneJob {name}", uri)
            for field, uri in _rows(source.dataset)
            if judged or not uri.startswith(("pvc://", "file://"))
        ]
        tokens.append(source.model.token_secret_ref)
    token = next((it for it in tokens if it), None)
    return Reads(tuple(found), hub_token=token, optional=not judged)


def uris(spec: FineTuning) -> Iterator[tuple[str, str]]:
    """(field, URI) of all that a fine-tuning run reads."""
    yield "model.uri", spec.model.uri
    yield from _rows(spec.dataset)


def code(spec: FineTuning) -> Iterator[tuple[str, CodeRef]]:
    """(field, reference) of the user's own code."""
    if spec.training.loss is not None:
        yield "training.loss", spec.training.loss
    if spec.evaluation.script is not None:
        yield "evaluation.script", spec.evaluation.script


def config_maps(spec: FineTuning) -> dict[str, list[str]]:
    """ConfigMaps, each with the keys that a fine-tuning run reads."""
    return of_fine_tuning(spec).config_maps()


def _rows(dataset: Dataset) -> Iterator[tuple[str, str]]:
    yield "dataset.uri", dataset.uri
    for index, source in enumerate(dataset.mix):
        yield f"dataset.mix[{index}].uri", source.uri


def _below(scheme: str, found: Iterable[tuple[str, str]]) -> Iterator[str]:
    prefix = f"{scheme}://"
    return (uri.removeprefix(prefix) for _, uri in found if uri.startswith(prefix))
