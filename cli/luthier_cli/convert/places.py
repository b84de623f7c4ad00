"""Where models and data are: names of a hub, paths and URIs become URIs of ours."""

import re
from pathlib import PurePosixPath
from typing import Any

from luthier_api.uris import DATASET_SCHEMES, MODEL_SCHEMES
from luthier_cli import paths
from luthier_cli.convert.mapping import Said, UnsaidError
from luthier_cli.convert.told import Fate

# What stands where only the user knows: valid, and easy to see.
MODEL, DATASET, OUTPUT = "s3://models/MODEL", "s3://datasets/DATA.jsonl", "s3://artifacts/models"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_PATHLIKE = re.compile(r"^(\.|/|~|[A-Za-z]:\\)")
_FILE = re.compile(r"(?i)\.(jsonl|json|csv|tsv|txt|md|parquet)(\.(gz|zst))?$")


def model(value: Any) -> Any:
    """The URI of a model. Raises UnsaidError."""
    name = _name(value)
    if named := paths.named_by_page(name):
        return f"hf://{named}"
    if paths.is_uri(name):
        scheme = name.partition("://")[0]
        if scheme in MODEL_SCHEMES:
            return name
        return _fill(f"s3://models/{last(name, 'MODEL')}", f"{scheme}:// isn't read: copy it there")
    if paths.looks_like_hub(name) and not _PATHLIKE.match(name):
        return f"hf://{name}"
    if "/" not in name and "\\" not in name and not _PATHLIKE.match(name):
        return _fill(f"hf://OWNER/{last(name, 'MODEL')}", "a hub's name has an owner here")
    return _fill(
        f"s3://models/{last(name, 'MODEL')}",
        "a local folder: copy it there (`luthier run --model DIR` takes it as it is)",
    )


def dataset(value: Any, files: Any = None, folder: Any = None) -> Any:
    """The URI of a dataset: its name or path, the file within, or the subset's folder."""
    within = next((it for it in (files if isinstance(files, list) else [files]) if it), None)
    if isinstance(value, str) and value.lower() in ("json", "csv", "parquet", "text") and within:
        value, within = within, None  # a kind of file, as in load_dataset("json", data_files=…)
    name = _name(value)
    part = within if isinstance(within, str) else folder if isinstance(folder, str) else ""
    tail = (
        "/" + "/".join(plain(it) for it in part.split("/") if it not in ("", ".", ".."))
        if part
        else ""
    )
    if named := paths.named_by_page(name):
        return f"hf://{named}{tail}"
    if paths.is_uri(name):
        scheme = name.partition("://")[0]
        if scheme in DATASET_SCHEMES:
            return name
        return _fill(
            f"s3://datasets/{last(name, 'DATA.jsonl')}", f"{scheme}:// isn't read: copy it there"
        )
    local = bool(_PATHLIKE.match(name) or _FILE.search(name))
    if paths.looks_like_hub(name) and not local:
        return f"hf://{name}{tail}"
    if "/" not in name and "\\" not in name and not local:
        return _fill(f"hf://OWNER/{last(name, 'DATA')}{tail}", "a hub's name has an owner here")
    return _fill(
        f"s3://datasets/{last(name, 'DATA.jsonl')}",
        "a local file: copy it there (`luthier run --dataset PATH` takes it as it is)",
    )


def _fill(uri: str, why: str) -> Said:
    return Said(uri, why, Fate.FILL)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UnsaidError("it isn't a name")
    return value.strip().rstrip("/") or "/"


def last(name: str, otherwise: str) -> str:
    """The last part of a path, as a URI may have it."""
    return plain(PurePosixPath(name.replace("\\", "/")).name) or otherwise


def plain(name: str) -> str:
    """Without what a URI can't hold."""
    return _UNSAFE.sub("-", name).strip("-.") or "x"


def resource_name(text: str, otherwise: str = "converted") -> str:
    """A name that a resource may have: a-z, 0-9 and -, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    plain = re.sub(r"^[0-9-]+", "", plain)[:33].strip("-")
    return plain or otherwise
