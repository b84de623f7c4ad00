"""What a run reads, as its spec names it: URIs, claims, ConfigMaps, code, a hub's token. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from luthier_api.adapterbundle import AdapterBundleSpec
from luthier_api.dataset import Dataset
from luthier_api.finetuning import FineTuning
from luthier_api.meta import CodeRef, ConfigMapKeyRef, SecretKeyRef
from luthier_api.optimizejob import OptimizeJobSpec
from luthier_api.runsettings import RunSettings


@dataclass(frozen=True)
class Reads:
    """What a run reads, each with the field that names it, and with which hub's token.

    What it takes from a FineTuneJob isn't named by a URI, and isn't among `uris`.
    """

    uris: tuple[tuple[str, str], ...] = ()
    code: tuple[tuple[str, CodeRef], ...] = ()
    texts: tuple[tuple[str, ConfigMapKeyRef], ...] = ()
    hub_token: SecretKeyRef | None = None
    hub_login_field: str = ""
    optional: bool = False  # whether the run goes on without its ConfigMaps

    def claims(self) -> list[str]:
        """PersistentVolumeClaims, each once, in the order of the fields."""
        return list(dict.fromkeys(claim for _, claim in self.claims_by_field()))

    def claims_by_field(self) -> list[tuple[str, str]]:
        """(field, PersistentVolumeClaim)."""
        return [(field, path.split("/")[0]) for field, path in _below("pvc", self.uris)]

    def config_map_keys(self) -> list[tuple[str, str, str]]:
        """(field, ConfigMap, key)."""
        found = []
        for field, path in _below("configmap", self.uris):
            name, _, key = path.partition("/")
            found.append((field, name, key))
        code = ((field, reference.config_map_ref) for field, reference in self.code)
        return found + [(field, it.name, it.key) for field, it in (*code, *self.texts)]

    def config_maps(self) -> dict[str, list[str]]:
        """ConfigMaps, each with the keys that the run reads."""
        found: dict[str, list[str]] = {}
        for _, name, key in self.config_map_keys():
            keys = found.setdefault(name, [])
            if key not in keys:
                keys.append(key)
        return found


def of_run(spec: RunSettings, jobs: Mapping[str, FineTuning]) -> Reads:
    """All that a run of any kind reads; `jobs`: what the FineTuneJobs that are known ask for."""
    match spec:
        case FineTuning():
            return of_fine_tuning(spec)
        case OptimizeJobSpec():
            name = spec.source.fine_tune_job_ref.name if spec.source.fine_tune_job_ref else ""
            return of_optimizing(spec, name, jobs.get(name))
        case AdapterBundleSpec():
            refs = [it.fine_tune_job_ref for it in spec.adapters]
            return of_bundling(
                spec, {it.name: jobs[it.name] for it in refs if it and it.name in jobs}
            )
    raise TypeError(f"a run of {type(spec).__name__} reads what isn't said here")


def of_fine_tuning(spec: FineTuning) -> Reads:
    """All that a fine-tuning run reads."""
    return Reads(
        uris=tuple((f"spec.{field}", uri) for field, uri in uris(spec)),
        code=tuple((f"spec.{field}", reference) for field, reference in code(spec)),
        texts=tuple((f"spec.{field}", reference) for field, reference in texts(spec)),
        hub_token=spec.model.token_secret_ref,
        hub_login_field="spec.model.tokenSecretRef",
    )


def of_rows(spec: FineTuning) -> Reads:
    """All that is read by whoever reads a fine-tuning run's data alone."""
    return Reads(
        uris=tuple((f"spec.{field}", uri) for field, uri in _rows(spec.dataset)),
        hub_token=spec.model.token_secret_ref,
        hub_login_field="spec.model.tokenSecretRef",
    )


def of_optimizing(spec: OptimizeJobSpec, name: str = "", source: FineTuning | None = None) -> Reads:
    """All that a run reads that optimises; `source`: what the FineTuneJob `name` asks for.

    The base is loaded and the rows are measured again; code of the user's own isn't run.
    """
    found: list[tuple[str, str]] = []
    token, field_of_token = spec.source.token_secret_ref, "spec.source.tokenSecretRef"
    if spec.source.model_uri is not None:
        found.append(("spec.source.modelUri", spec.source.model_uri))
    if spec.source.adapter_uri is not None:
        found.append(("spec.source.adapterUri", spec.source.adapter_uri))
    if source is not None:
        token = source.model.token_secret_ref
        field_of_token = f"spec.model.tokenSecretRef of FineTuneJob {name}"
        found.append((f"spec.model.uri of FineTuneJob {name}", source.model.uri))
    measured = spec.evaluation
    if measured is not None:
        found += [(f"spec.evaluation.{field}", uri) for field, uri in _rows(measured.dataset)]
    elif source is not None:
        found += [
            (f"spec.{field} of FineTuneJob {name}", uri) for field, uri in _rows(source.dataset)
        ]
    return Reads(tuple(found), hub_token=token, hub_login_field=field_of_token)


def of_bundling(spec: AdapterBundleSpec, adapters: Mapping[str, FineTuning]) -> Reads:
    """All that a run reads that builds a bundle; `adapters`: what their FineTuneJobs ask for.

    Each adapter is measured on its own rows. Unless that decides about it, a bundle doesn't
    depend on them: their claims may be gone, or lie where no node reaches them all.
    """
    judged = spec.max_metric_drop is not None
    found = [("spec.base.uri", spec.base.uri)]
    found += [
        (f"spec.adapters[{index}].uri", adapter.uri)
        for index, adapter in enumerate(spec.adapters)
        if adapter.uri is not None
    ]
    tokens = [("spec.base.tokenSecretRef", spec.base.token_secret_ref)]
    for name, source in adapters.items():
        found += [
            (f"spec.{field} of FineTuneJob {name}", uri)
            for field, uri in _rows(source.dataset)
            if judged or not uri.startswith(("pvc://", "file://"))
        ]
        field_of_token = f"spec.model.tokenSecretRef of FineTuneJob {name}"
        tokens.append((field_of_token, source.model.token_secret_ref))
    field, token = next((it for it in tokens if it[1]), ("", None))
    return Reads(tuple(found), hub_token=token, hub_login_field=field, optional=not judged)


def uris(spec: FineTuning) -> Iterator[tuple[str, str]]:
    """(field, URI) of all that a fine-tuning run reads."""
    yield "model.uri", spec.model.uri
    if spec.model.adapter is not None and spec.model.adapter.uri is not None:
        yield "model.adapter.uri", spec.model.adapter.uri
    yield from _rows(spec.dataset)


def code(spec: FineTuning) -> Iterator[tuple[str, CodeRef]]:
    """(field, reference) of the user's own code."""
    if spec.training.loss is not None:
        yield "training.loss", spec.training.loss
    if spec.evaluation.script is not None:
        yield "evaluation.script", spec.evaluation.script


def texts(spec: FineTuning) -> Iterator[tuple[str, ConfigMapKeyRef]]:
    """(field, reference) of texts that are no code: templates run in a sandbox."""
    template = spec.dataset.chat_template
    if template is not None and template.config_map_ref is not None:
        yield "dataset.chatTemplate", template.config_map_ref


def config_maps(spec: FineTuning) -> dict[str, list[str]]:
    """ConfigMaps, each with the keys that a fine-tuning run reads."""
    return of_fine_tuning(spec).config_maps()


def _rows(dataset: Dataset) -> Iterator[tuple[str, str]]:
    yield "dataset.uri", dataset.uri
    for index, source in enumerate(dataset.mix):
        yield f"dataset.mix[{index}].uri", source.uri


def _below(scheme: str, found: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    prefix = f"{scheme}://"
    return ((field, uri.removeprefix(prefix)) for field, uri in found if uri.startswith(prefix))
