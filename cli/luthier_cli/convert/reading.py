"""Configurations as files: YAML or JSON, of a bounded size and depth."""

import json
from typing import Any

from luthier_cli.errors import CliError
from luthier_cli.yaml import YamlError, load_documents


def read_mapping(text: str, file: str) -> dict[str, Any]:
    """The configuration. Raises CliError."""
    if text.lstrip().startswith("{"):
        found = _json(text, file)
    else:
        try:
            documents = load_documents(text)
        except YamlError as error:
            raise CliError(f"{file}: {error}", "correct the file") from None
        if len(documents) > 1:
            raise CliError(f"{file} has several documents", "convert one at a time")
        found = documents[0].value if documents else None
    if not isinstance(found, dict) or not found:
        raise CliError(f"{file} holds no configuration", "it must be a mapping of fields")
    return found


def _json(text: str, file: str) -> Any:
    """JSON; YAML would refuse its tabs. As YAML, where it only looks like JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise CliError(f"{file} is nested too deeply", "is it a configuration?") from None
    except ValueError as error:
        try:
            documents = load_documents(text)
        except YamlError:
            raise CliError(
                f"{file} is neither JSON nor YAML: {error}", "correct the file"
            ) from None
        return documents[0].value if len(documents) == 1 else None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
