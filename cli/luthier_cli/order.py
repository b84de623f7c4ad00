"""What `luthier run` is to run: a manifest, with what the command line changes in it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cli import overrides
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


@dataclass(frozen=True)
class Order:
    """A manifest that was read and found right."""

    spec: FineTuneJobSpec
    namespace: str
    name: str
    declared_output: str


class InvalidManifestError(Exception):
    """The manifest has mistakes."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(f"{len(findings)} mistakes")
        self.findings = findings


def read_order(file: str, options: Options) -> Order:
    """The one FineTuneJob of a manifest, overridden. Raises CliError, InvalidManifestError."""
    document = _find(file, options.name)
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
    return Order(model, metadata.get("namespace") or "default", name, str(uri))


def _find(file: str, name: str | None) -> Document:
    [(file, text)] = read_sources([file])
    try:
        documents = load_documents(text)
    except YamlError as error:
        raise InvalidManifestError([Finding(file, error.line, "", error.message)]) from None
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
    for field, path in (("model.uri", options.model), ("dataset.uri", options.dataset)):
        if path is not None:
            if not path.exists():
                raise CliError(f"{path} doesn't exist", f"it was to be {field}")
            settings.append(f"{field}={json.dumps(overrides.file_uri(path))}")
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
