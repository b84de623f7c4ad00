"""ConfigMaps of a manifest's own file, for a run on this machine."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier_api.sources import Reads
from luthier_cli.errors import CliError

# Content by the name of a ConfigMap and its key.
ConfigMaps = Mapping[str, Mapping[str, bytes]]


def find(
    reads: Reads, documents: Sequence[Any], namespace: str | None, file: str
) -> dict[str, dict[str, bytes]]:
    """Content by name and key of what a run reads. Raises CliError for what isn't in the file,
    unless the run goes on without it."""
    there = {
        document["metadata"]["name"]: document
        for document in documents
        if _is_config_map(document, namespace)
    }
    found: dict[str, dict[str, bytes]] = {}
    for name, keys in reads.config_maps().items():
        if name not in there:
            if reads.optional:
                continue
            raise CliError(
                f"no ConfigMap {name} in {file}, which the spec names",
                "add it to the file as a document of its own, in the namespace of the resource",
            )
        content = _content(there[name])
        missing = [key for key in keys if key not in content]
        if missing and not reads.optional:
            raise CliError(
                f"the ConfigMap {name} in {file} has no key {missing[0]}",
                f"it has: {', '.join(content) or 'none'}",
            )
        found[name] = {key: content[key] for key in keys if key in content}
    return found


def write(config_maps: ConfigMaps, folder: Path) -> None:
    """As the kubelet mounts them: a folder for each, a file for each key."""
    for name, content in config_maps.items():
        (folder / name).mkdir(parents=True)
        for key, value in content.items():
            (folder / name / key).write_bytes(value)


def _is_config_map(document: Any, namespace: str | None) -> bool:
    if not isinstance(document, dict) or document.get("kind") != "ConfigMap":
        return False
    metadata = document.get("metadata")
    if document.get("apiVersion") != "v1" or not isinstance(metadata, dict):
        return False
    return isinstance(metadata.get("name"), str) and (
        (metadata.get("namespace") or "default") == (namespace or "default")
    )


def _content(config_map: dict[str, Any]) -> dict[str, bytes]:
    name = config_map["metadata"]["name"]
    content: dict[str, bytes] = {}
    for field in ("data", "binaryData"):
        if not isinstance(config_map.get(field) or {}, dict):
            raise CliError(
                f"ConfigMap {name}: {field} isn't a mapping", "write KEY: value below it"
            )
    for key, text in (config_map.get("data") or {}).items():
        if not isinstance(text, str):
            raise CliError(f"ConfigMap {name}: data.{key} must be text", "quote it, or use |")
        content[str(key)] = text.encode()
    for key, encoded in (config_map.get("binaryData") or {}).items():
        try:
            content[str(key)] = base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise CliError(
                f"ConfigMap {name}: binaryData.{key} isn't base64", "encode it"
            ) from None
    return content
