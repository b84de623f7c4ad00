"""`--model` and `--dataset`: files of this machine, at the fields of a spec that they are for."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier_api.kinds import ADAPTER_BUNDLE, OPTIMIZE_JOB, Kind
from luthier_cli import paths, yaml
from luthier_cli.errors import CliError


def shortcuts(
    kind: Kind,
    spec: Mapping[str, Any],
    model: str | Path | None,
    dataset: str | Path | None,
    *,
    strict: bool,
) -> list[str]:
    """As `--set` takes them. Where the spec has no place for one: with `strict` an error, else
    nothing. Raises CliError."""
    settings = []
    for option, given, place in (
        ("--model", model, _model_field(kind, spec)),
        ("--dataset", dataset, _dataset_field(kind, spec)),
    ):
        if given is None:
            continue
        uri = _uri(str(given), option, place)
        if place:
            settings.append(f"{place}={json.dumps(uri)}")
        elif strict:
            raise CliError(
                f"{option}: this {kind.name} names none",
                "leave it out: what its FineTuneJob was run with is taken",
            )
    return settings


def instead(kind: Kind, spec: Mapping[str, Any], field: str) -> str:
    """How a file of this machine gets to where the trainer found no store, `field`; empty where
    that is no URI of this spec: it's of what the spec refers to."""
    if field == "output.uri":
        return "write to a folder: --output DIR"
    if kind is OPTIMIZE_JOB and field.startswith("dataset."):
        field = f"evaluation.{field}"  # the trainer names rows as a run's own
    if not str(yaml.at(spec, _path(field))).startswith("s3://"):
        return ""
    given = {
        _model_field(kind, spec): "--model DIR",
        _dataset_field(kind, spec): "--dataset FILE",
    }.get(field, f"its file:///PATH in spec.{field}")
    return f"take what lies on this machine: {given}"


def _path(field: str) -> yaml.Path:
    """Of a field such as dataset.mix[0].uri."""
    return tuple(name or int(index) for name, index in re.findall(r"(\w+)|\[(\d+)\]", field))


def _uri(given: str, option: str, place: str | None) -> str:
    if paths.is_uri(given):
        return given
    path = paths.path_of(given)
    if option == "--dataset" and "*" in path.name and not path.exists():
        return paths.pattern_uri(path)
    if not path.exists():
        of_hub = paths.looks_like_hub(given) and place
        hub = f"; of a hub: --set {place}=hf://{given}" if of_hub else ""
        raise CliError(f"{path} doesn't exist", f"it was given by {option}{hub}")
    return paths.file_uri(path)


def _model_field(kind: Kind, spec: Mapping[str, Any]) -> str | None:
    if kind is OPTIMIZE_JOB:
        source = spec.get("source")
        taken = isinstance(source, dict) and source.get("fineTuneJobRef")
        return None if taken else "source.modelUri"
    return "base.uri" if kind is ADAPTER_BUNDLE else "model.uri"


def _dataset_field(kind: Kind, spec: Mapping[str, Any]) -> str | None:
    if kind is OPTIMIZE_JOB:
        return "evaluation.dataset.uri" if spec.get("evaluation") else None
    return None if kind is ADAPTER_BUNDLE else "dataset.uri"
