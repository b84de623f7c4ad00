"""What there is to know of a run that has ended, a line each, what matters most first. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from luthier_cli import tables, text

# Programs that lie in a package, and what for.
_PROGRAMS = {"luthier_bundle.py": "luthier_bundle.py loads it", "README.md": "README.md shows how"}


def facts_of(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value)."""
    complete = summary["outcome"] == "Complete"
    found = [*_result(summary, complete=complete), *_course(summary)]
    if not summary.get("report"):  # whose page has these
        found += _settings(summary)
    if not complete:
        found += _state(summary)
    return [(label, value) for label, value in found if value]


def _result(summary: Mapping[str, Any], *, complete: bool) -> list[tuple[str, str]]:
    """Where it lies, and how it is used."""
    artifact, files = summary.get("artifact") or {}, summary.get("files", [])
    facts = [("Artifact" if complete else "In use", summary.get("folder") or artifact.get("uri"))]
    facts.append(("Package", _package(artifact)))
    if "format" not in artifact:
        names = {file["path"] for file in files}
        facts.append(("Use it", "; ".join(words for it, words in _PROGRAMS.items() if it in names)))
    if proven := summary.get("proof"):
        facts.append(("Proven", tables.proof(proven)))
    facts.append(("Files", folded(files)))
    # The page has the curve in it.
    page = summary.get("report")
    facts.append(("Report", page) if page else ("Loss curve", summary.get("lossCurve", "")))
    return [(label, value or "") for label, value in facts]


def _course(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it was made from, and what that took."""
    revision, attempt = summary.get("revision") or "", summary.get("attempt") or 1
    if attempt > 1:
        revision = f"{revision}, attempt {attempt}"
    elif (summary.get("folder") or "").endswith(revision):
        revision = ""  # the path tells
    training = ""
    if steps := summary.get("steps"):
        loss = f", loss {summary['loss']:.4g}" if "loss" in summary else ""
        training = f"{steps:,} step{'' if steps == 1 else 's'}{loss}"
    usage = summary.get("usage")
    return [
        ("Revision", revision),
        ("Data", text.dataset(summary.get("dataset") or {})),
        ("Looked at", text.retraining(summary.get("retrain") or {})),
        ("Training", training),
        ("Used", _usage(usage) if usage else ""),
        ("Restarts", text.restarts(summary.get("restarts") or {})),
    ]


def _settings(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was expected and chosen before it began."""
    chosen = summary.get("resolved") or {}
    return [
        ("Expected", text.estimate(summary.get("estimate") or {})),
        ("Chosen", ", ".join(f"{name} {value}" for name, value in chosen.items())),
    ]


def _state(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """From where it goes on, and where to look."""
    step = summary.get("checkpointStep")
    return [
        ("Checkpoint", f"of step {step:,}" if step is not None else ""),
        ("Log", summary.get("log") or ""),
    ]


def folded(files: Sequence[Mapping[str, Any]]) -> str:
    """Folders with the number and size of their files, then the files beside them."""
    sizes: dict[str, list[int]] = {}
    for file in files:
        folder, slash, _ = str(file["path"]).partition("/")
        sizes.setdefault(f"{folder}/" if slash else folder, []).append(file["bytes"])
    folders = [
        f"{name} ({text.size(sum(it))}{'' if len(it) == 1 else f', {len(it)} files'})"
        for name, it in sizes.items()
        if name.endswith("/")
    ]
    return ", ".join([*folders, *(name for name in sizes if not name.endswith("/"))])


def _package(artifact: Mapping[str, Any]) -> str:
    """What runs an optimised model."""
    if "format" not in artifact:
        return ""
    runtime = {"genai": "onnxruntime-genai", "onnx": "ONNX Runtime"}.get(
        artifact["format"], artifact["format"]
    )
    return f"{artifact['precision']} for {runtime}, in model/; README.md shows how to run it"


def _usage(usage: Mapping[str, Any]) -> str:
    parts = [f"{text.duration(usage.get('cpuSeconds', 0))} of CPU"]
    if usage.get("gpuSeconds"):
        parts.append(f"{text.duration(usage['gpuSeconds'])} of GPU")
    if usage.get("trainedTokens"):
        parts.append(f"{usage['trainedTokens']:,} tokens learnt from")
    return ", ".join(parts)
