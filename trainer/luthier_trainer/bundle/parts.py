"""Descriptions of a package's parts."""

from collections.abc import Iterable
from pathlib import Path

from luthier_trainer.bundle.index import AdapterPart, File, Proof
from luthier_trainer.bundle.members import Member
from luthier_trainer.pod import publish

_ADAPTERS_FOLDER = "adapters"


def adapter_file(name: str) -> str:
    """Where an adapter lies in its package."""
    return f"{_ADAPTERS_FOLDER}/{name}.onnx_adapter"


def describe(path: Path) -> File:
    return File(**publish.describe(path))


def describe_all(folder: Path, paths: Iterable[Path]) -> dict[str, File]:
    """By their names below `folder`."""
    return {path.relative_to(folder).as_posix(): describe(path) for path in sorted(paths)}


def adapter_part(member: Member, file: File, proof: Proof) -> AdapterPart:
    """Of an adapter that was built for this package."""
    adapter = member.adapter
    assert adapter
    modules = adapter.modules
    return AdapterPart(
        name=member.name,
        file=adapter_file(member.name),
        sha256=file.sha256,
        bytes=file.bytes,
        key=member.key,
        source=member.located.source,
        base_verified=adapter.base_digest is not None,
        ranks=adapter.ranks,
        alpha=float(adapter.config["lora_alpha"]),
        rank_stabilized=bool(adapter.config.get("use_rslora")),
        target_modules=sorted({module.rpartition(".")[2] for module in modules}),
        layers=len({module.split(".")[2] for module in modules}),
        ask=member.ask,
        custom_code=member.located.custom_code,
        proof=proof,
    )


def taken_part(member: Member) -> AdapterPart:
    """Of an adapter that is as in the package before, under the name it has now."""
    taken = member.taken
    assert taken
    now = {
        "name": member.name,
        "file": adapter_file(member.name),
        "source": member.located.source,
        "base_verified": member.located.base_digest is not None,
        "ask": member.ask,
        "custom_code": member.located.custom_code,
    }
    return taken.model_copy(update=now)
