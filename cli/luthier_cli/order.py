"""What `luthier run` is to run: a manifest, with what the command line changes in it, and the
results that it refers to."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from luthier_api import sources
from luthier_api.adapterbundle import AdapterBundleSpec
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.kinds import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Kind
from luthier_api.optimizejob import OptimizeJobSpec
from luthier_api.sources import Reads
from luthier_api.tracking import Mlflow, Tracking
from luthier_cli import configmaps, metadata, overrides, references
from luthier_cli.choice import choose
from luthier_cli.configmaps import ConfigMaps
from luthier_cli.errors import CliError
from luthier_cli.findings import Finding
from luthier_cli.offline import check_document, kind_of, parse_spec
from luthier_cli.paths import file_uri, is_uri, path_of
from luthier_cli.references import Result
from luthier_cli.shortcuts import shortcuts
from luthier_cli.validate import read_sources
from luthier_cli.yaml import Document, YamlError, load_documents

Spec = FineTuneJobSpec | OptimizeJobSpec | AdapterBundleSpec

# Results by the namespace and name of their FineTuneJob.
Made = Mapping[tuple[str, str], Result]

# The schema wants s3:// for these; on this machine a folder is as good.
_ANY_S3 = "s3://local/folder"
_TOKENS = {FINE_TUNE_JOB: "model", OPTIMIZE_JOB: "source", ADAPTER_BUNDLE: "base"}


@dataclass(frozen=True)
class Options:
    """What the command line says beside the manifest."""

    output: str = "out"
    s3: bool = False
    settings: Sequence[str] = ()
    model: str | None = None
    dataset: str | None = None
    name: str | None = None
    kind: str | None = None
    every: bool = False
    s3_endpoint: str | None = None
    s3_region: str | None = None
    allow_code: bool = False


@dataclass(frozen=True)
class Manifest:
    """A resource that was read and found right. `others`: all that lies in its file."""

    kind: Kind
    spec: Spec
    namespace: str
    name: str
    declared_output: str
    file: str
    others: Sequence[Any]

    def __str__(self) -> str:
        return f"{self.kind.name} {self.name}"


@dataclass(frozen=True)
class Order:
    """A manifest with all that it needs: `results`, by the name of their FineTuneJob."""

    manifest: Manifest
    config_maps: ConfigMaps = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)


class InvalidManifestError(Exception):
    """The manifest has mistakes."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(f"{len(findings)} mistakes")
        self.findings = findings


def read_order(file: str, options: Options) -> Order:
    """The one resource of a file that the options choose. Raises CliError, InvalidManifestError."""
    [manifest] = read_manifests(file, options)
    return order_of(manifest, options)


def read_manifests(file: str, options: Options) -> list[Manifest]:
    """What the options choose of a file, overridden; with `every` in the order of references.

    Raises CliError, InvalidManifestError.
    """
    documents = _load(file)
    chosen = choose(documents, file, name=options.name, kind=options.kind, every=options.every)
    if options.every and options.settings:
        raise CliError(
            "--set changes one resource, and --all runs several",
            "change the file, or run them one by one: --kind and --name",
        )
    findings: list[Finding] = []
    read = [_read(document, documents, file, options, findings) for document in chosen]
    if findings:
        raise InvalidManifestError(findings)
    return [manifest for manifest in read if manifest]


def order_of(manifest: Manifest, options: Options, made: Made | None = None) -> Order:
    """With the results that it refers to: those just `made`, else looked up. Raises CliError."""
    results = _results(manifest, options, made or {})
    reads = _reads(manifest.spec, results)
    _check_place(manifest, reads, allow_code=options.allow_code)
    found = configmaps.find(reads, manifest.others, manifest.namespace, manifest.file)
    return Order(manifest, found, results)


def check_all(manifests: Sequence[Manifest], options: Options) -> None:
    """Raises CliError, before the first is run, for what can be told now of all of them."""
    coming = {(it.namespace, it.name) for it in manifests if it.kind is FINE_TUNE_JOB}
    for manifest in manifests:
        named = {(manifest.namespace, name) for name in references_of(manifest.spec)}
        if coming.isdisjoint(named):
            order_of(manifest, options)


def _read(
    document: Document,
    documents: Sequence[Document],
    file: str,
    options: Options,
    findings: list[Finding],
) -> Manifest | None:
    """None: it has mistakes, which are among `findings` now."""
    spec, kind = document.value.get("spec"), kind_of(document.value)
    if isinstance(spec, dict) and kind:
        changes = [
            *shortcuts(kind, spec, options.model, options.dataset, strict=not options.every),
            *options.settings,
        ]
        spec = overrides.apply(spec, changes, kind.name.lower())
    checked = Document(document.value | {"spec": _without_folders(spec)}, document.lines)
    mistakes = check_document(checked, file)
    findings += mistakes
    if mistakes or kind is None:
        return None
    declared = spec["output"]["uri"]
    model = parse_spec(kind, spec | {"output": spec["output"] | {"uri": _ANY_S3}})
    assert isinstance(model, Spec)
    return Manifest(
        kind=kind,
        spec=model,
        namespace=metadata.namespace_of(document.value),
        name=metadata.name_of(document.value),
        declared_output=declared,
        file=file,
        others=[it.value for it in documents],
    )


def _without_folders(spec: Any) -> Any:
    """The spec as the schema wants it: S3 in place of a folder of this machine."""
    if not isinstance(spec, dict):
        return spec
    stand_ins = {"output": _elsewhere(spec.get("output"))}
    if isinstance(adapters := spec.get("adapters"), list):
        stand_ins["adapters"] = [_elsewhere(adapter) for adapter in adapters]
    return spec | {name: value for name, value in stand_ins.items() if value is not None}


def _elsewhere(place: Any) -> Any:
    uri = place.get("uri") if isinstance(place, dict) else None
    if isinstance(uri, str) and uri.startswith("file://"):
        return place | {"uri": _ANY_S3}
    return place


def references_of(spec: Spec) -> list[str]:
    """Names of the FineTuneJobs whose results it takes, each once."""
    match spec:
        case FineTuneJobSpec():
            named = [spec.model.adapter.fine_tune_job_ref] if spec.model.adapter else []
        case OptimizeJobSpec():
            named = [spec.source.fine_tune_job_ref]
        case AdapterBundleSpec():
            named = [adapter.fine_tune_job_ref for adapter in spec.adapters]
    return list(dict.fromkeys(reference.name for reference in named if reference))


def _results(manifest: Manifest, options: Options, made: Made) -> dict[str, Result]:
    output, namespace = output_uri(manifest, options), manifest.namespace
    found: dict[str, Result] = {}
    for name in references_of(manifest.spec):
        result = made.get((namespace, name)) or references.newest_result(output, namespace, name)
        if result is None:
            raise CliError(
                f"{manifest} takes the result of FineTuneJob {name}, and there is none in "
                f"{output}/{namespace}/{name}",
                f"make it first: {_command(manifest, name, options)}",
            )
        found[name] = result
    return found


def _command(manifest: Manifest, name: str, options: Options) -> str:
    """The command that makes the result of a FineTuneJob where it is looked for."""
    same_file = any(
        isinstance(it, dict)
        and it.get("kind") == FINE_TUNE_JOB.name
        and (it.get("metadata") or {}).get("name") == name
        for it in manifest.others
    )
    chosen = [manifest.file, "--kind", FINE_TUNE_JOB.short, "--name", name]
    what = chosen if same_file else [f"MANIFEST_OF_{name}.yaml"]
    return shlex.join(["luthier", "run", *what, "--output", options.output])


def _reads(spec: Spec, results: Mapping[str, Result]) -> Reads:
    match spec:
        case FineTuneJobSpec():
            return sources.of_fine_tuning(spec)
        case OptimizeJobSpec():
            name = next(iter(results), "")
            return sources.of_optimizing(spec, name, results[name].spec if name else None)
        case AdapterBundleSpec():
            return sources.of_bundling(spec, {name: it.spec for name, it in results.items()})


def _check_place(manifest: Manifest, reads: Reads, *, allow_code: bool) -> None:
    """What a cluster has, and this machine hasn't unless told."""
    for where, uri in reads.uris:
        if uri.startswith("pvc://"):
            raise CliError(
                f"{where}: {uri} is a cluster's volume, which isn't on this machine",
                "name files of this machine: --model DIR, --dataset FILE, or --set "
                f"{where.removeprefix('spec.')}=file:///…",
            )
    for where, reference in reads.code:
        if not allow_code:
            raise CliError(
                f"{where} runs code of your own ({reference.entrypoint} of "
                f"{reference.config_map_ref.name}/{reference.config_map_ref.key})",
                "read it, and allow it with --allow-code",
            )
    if reads.hub_token is not None and not os.environ.get("HF_TOKEN"):
        field_ = f"{_TOKENS[manifest.kind]}.tokenSecretRef"
        raise CliError(
            f"spec.{field_}: the Secret {reads.hub_token.name} isn't read on this machine",
            f"set HF_TOKEN in the environment, or --set {field_}=null",
        )
    if isinstance(manifest.spec, FineTuneJobSpec) and manifest.spec.tracking:
        _check_trackers(manifest.spec.tracking)


def _check_trackers(tracking: Tracking) -> None:
    """What luthier.yaml says in a cluster, and the kubelet brings."""
    if tracking.mlflow and not tracking.mlflow.uri:
        named = os.environ.get("MLFLOW_TRACKING_URI", "")
        try:
            Mlflow(uri=named)
        except ValidationError:
            raise CliError(
                "spec.tracking.mlflow names no server, and this machine knows no luthier.yaml",
                "set MLFLOW_TRACKING_URI to its address (http://HOST:PORT), or --set "
                "tracking.mlflow.uri=…",
            ) from None
    for name, at, ref in tracking.credentials():
        if not os.environ.get(name):
            raise CliError(
                f"spec.tracking.{at}: the Secret {ref.name} isn't read on this machine",
                f"set {name} in the environment, or --set tracking.{at}=null",
            )


def _load(file: str) -> list[Document]:
    [(file, text)] = read_sources([file])
    try:
        return list(load_documents(text))
    except YamlError as error:
        raise InvalidManifestError([Finding(file, error.line, "", error.message)]) from None


def output_uri(manifest: Manifest, options: Options) -> str:
    """Where results go: a folder, unless S3 was asked for by name."""
    if options.s3:
        declared = manifest.declared_output
        if not declared.startswith("s3://"):
            raise CliError(f"--s3: output.uri is {declared}", "set it to s3://BUCKET/PREFIX")
        return declared
    if options.output.startswith(("s3://", "file://")):
        return options.output
    if is_uri(options.output):
        raise CliError(
            f"--output {options.output}: results go to a folder or to s3://BUCKET/PREFIX",
            "correct it",
        )
    return file_uri(path_of(options.output))
