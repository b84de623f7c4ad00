"""`--model` and `--dataset`: files of this machine, at the fields of a spec that they are for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier_cli import overrides
from luthier_cli.errors import CliError
from luthier_cli.kinds import ADAPTER_BUNDLE, OPTIMIZE_JOB, Kind


def shortcuts(
    kind: Kind, spec: Mapping[str, Any], model: Path | None, dataset: Path | None, *, strict: bool
) -> list[str]:
    """As `--set` takes them. Where the spec has no place for one: with `strict` an error, else
    nothing. Raises CliError."""
    settings = []
    for option, path, place in (
        ("--model", model, _model_field(kind, spec)),
        ("--dataset", dataset, _dataset_field(kind, spec)),
    ):
        if path is None:
            continue
        if not path.exists():
            raise CliError(f"{path} doesn't exist", f"it was given by {option}")
        if place:
            settings.append(f"{place}={json.dumps(overrides.file_uri(path))}")
        elif strict:
            raise CliError(
                f"{option}: this {kind.name} names none",
                "leave it out: what its FineTuneJob was run with is taken",
            )
    return settings


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
