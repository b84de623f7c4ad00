"""What `luthier run` is to run: a manifest, with what the command line changes in it."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luthier_api import sources
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cli import configmaps, overrides
from luthier_cli.configmaps import ConfigMaps
from luthier_cli.errors import CliError
from luthier_cli.findings import Finding
from luthier_cli.kinds import FINE_TUNE_JOB
from luthier_cli.offline import check_document, is_ours, parse_spec
from luthier_cli.validate import read_sources
from luthier_cli.yaml import Document, YamlError, load_documents

# The schema wants s3:// for the output; on this machine a folder is as good.
_ANY_S3 = "s3://local/output"


@dataclass(frozen=True)
class Options:
    """What the command line says beside the manifest."""

    output: str = "out"
    s3: bool = False
    settings: Sequence[str] = ()
    model: Path | None = None
    dataset: Path | None = None
    name: str | None = None
    s3_endpoint: str | None = None
    s3_region: str | None = None
    allow_code: bool = False


@dataclass(frozen=True)
class Order:
    """A manifest that was read and found right."""

    spec: FineTuneJobSpec
    namespace: str
    name: str
    declared_output: str
    config_maps: ConfigMaps = field(default_factory=dict)


class InvalidManifestError(Exception):
    """The manifest has mistakes."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(f"{len(findings)} mistakes")
        self.findings = findings


def read_order(file: str, options: Options) -> Order:
    """The one FineTuneJob of a manifest, overridden. Raises CliError, InvalidManifestError."""
    documents = _load(file)
    document = _find(documents, file, options.name)
    spec = document.value.get("spec")
    if isinstance(spec, dict):
        spec = overrides.apply(spec, [*_shortcuts(options), *options.settings])
    declared = (spec or {}).get("output", {}) if isinstance(spec, dict) else {}
    uri = declared.get("uri") if isinstance(declared, dict) else None
    if isinstance(uri, str) and uri.startswith("file://"):
        spec = spec | {"output": declared | {"uri": _ANY_S3}}
    findings = check_document(Document(document.value | {"spec": spec}, document.lines), file)
    if findings:
        raise InvalidManifestError(findings)
    model = parse_spec(FINE_TUNE_JOB, spec)
    assert isinstance(model, FineTuneJobSpec)
    metadata = document.value["metadata"]
    name = metadata.get("name") or metadata["generateName"].rstrip("-")
    _check_place(model, allow_code=options.allow_code)
    found = configmaps.find(model, [it.value for it in documents], metadata.get("namespace"), file)
    return Order(model, metadata.get("namespace") or "default", name, str(uri), found)


def _check_place(spec: FineTuneJobSpec, *, allow_code: bool) -> None:
    """What a cluster has, and this machine hasn't unless told."""
    for where, uri in sources.uris(spec):
        if uri.startswith("pvc://"):
            raise CliError(
                f"spec.{where}: {uri} is a cluster's volume, which isn't on this machine",
                "name files of this machine: --model DIR, --dataset FILE, or --set "
                f"{where}=file:///…",
            )
    for where, reference in sources.code(spec):
        if not allow_code:
            raise CliError(
                f"spec.{where} runs code of your own ({reference.entrypoint} of "
                f"{reference.config_map_ref.name}/{reference.config_map_ref.key})",
                "read it, and allow it with --allow-code",
            )
    token = spec.model.token_secret_ref
    if token is not None and not os.environ.get("HF_TOKEN"):
        raise CliError(
            f"spec.model.tokenSecretRef: the Secret {token.name} isn't read on this machine",
            "set HF_TOKEN in the environment, or --set model.tokenSecretRef=null",
        )


def _load(file: str) -> list[Document]:
    [(file, text)] = read_sources([file])
    try:
        return list(load_documents(text))
    except YamlError as error:
        raise InvalidManifestError([Finding(file, error.line, "", error.message)]) from None


def _find(documents: Sequence[Document], file: str, name: str | None) -> Document:
    jobs = {
        str((document.value.get("metadata") or {}).get("name")): document
        for document in documents
        if is_ours(document.value) and document.value.get("kind") == FINE_TUNE_JOB.name
    }
    if name and name not in jobs:
        raise CliError(f"no FineTuneJob {name} in {file}", f"there are: {', '.join(jobs)}")
    if not jobs:
        raise CliError(f"no FineTuneJob in {file}", "only this kind runs on this machine")
    if len(jobs) > 1 and not name:
        raise CliError(
            f"{file} has {len(jobs)} FineTuneJobs", f"choose by --name: {', '.join(jobs)}"
        )
    return jobs[name] if name else next(iter(jobs.values()))


def _shortcuts(options: Options) -> list[str]:
    settings = []
    for where, path in (("model.uri", options.model), ("dataset.uri", options.dataset)):
        if path is not None:
            if not path.exists():
                raise CliError(f"{path} doesn't exist", f"it was to be {where}")
            settings.append(f"{where}={json.dumps(overrides.file_uri(path))}")
    return settings


def output_uri(order: Order, options: Options) -> str:
    """Where results go: a folder, unless S3 was asked for by name."""
    if options.s3:
        if not order.declared_output.startswith("s3://"):
            raise CliError(
                f"--s3: output.uri is {order.declared_output}", "set it to s3://BUCKET/PREFIX"
            )
        return order.declared_output
    if options.output.startswith(("s3://", "file://")):
        return options.output
    return overrides.file_uri(Path(options.output))
