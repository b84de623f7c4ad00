"""Adapters built for a package, and proven: what needs torch and onnxruntime-genai.

Both are slow to import, so this module is imported only where something is built.
"""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier_trainer.bundle.fetch import WEIGHTS
from luthier_trainer.bundle.index import Measured, Proof
from luthier_trainer.bundle.job import Job
from luthier_trainer.bundle.members import Member, unreadable
from luthier_trainer.bundle.package import Package
from luthier_trainer.bundle.parts import adapter_file, adapter_part, describe
from luthier_trainer.bundle.proof import (
    Candidate,
    measured,
    probe_tokens,
    prove_isolation,
    prove_likeness,
)
from luthier_trainer.bundle.reference import Reference
from luthier_trainer.bundle.rows import NoRowsError, read_rows
from luthier_trainer.bundle.verdict import judge_metric
from luthier_trainer.errors import TrainerError, from_exception, unsupported
from luthier_trainer.log import log
from luthier_trainer.models.load import load_tokenizer
from luthier_trainer.packages.genai import adapterfile, graph
from luthier_trainer.packages.genai.unfit import UnfitError

# What ends a run, though it happened over an adapter's rows.
_OF_THE_POD = ("StorageUnavailable", "OutOfMemory", "DiskFull")


def open_package(model: Path, ids: Sequence[int], precision: str) -> Package:
    """Raises TrainerError (BuildFailed) where what was built doesn't load, or doesn't run."""
    try:
        package = Package(model)
        package.logits(ids, None)
    except (RuntimeError, UnfitError) as error:
        raise unsupported(
            "BuildFailed",
            f"onnxruntime-genai can't run the base as {precision}: {str(error)[:600]}; try "
            "another precision or other options of int4, or choose another base",
            "precision",
        ) from error
    return package


@dataclass(frozen=True)
class _Workbench:
    """What adapters are built and proven with. `package`: the graph, loaded; `inputs`: the LoRA
    weights that it takes; `ids`: what is asked."""

    job: Job
    tokenizer: Any
    ids: Sequence[int]
    package: Package
    inputs: Mapping[str, graph.Input]

    def file(self, member: Member) -> Path:
        return self.job.contents.folder / adapter_file(member.name)


def assemble(job: Job, model: Path, members: Sequence[Member], others: Sequence[Path]) -> None:
    """Let those in that pass their proof. `model`: the folder of the graph; `others`: adapters'
    files that were proven before. Raises TrainerError, Interrupted."""
    tokenizer = load_tokenizer(job.source)
    ids = probe_tokens(tokenizer)
    package = open_package(model, ids, job.bundling.precision)
    bench = _Workbench(job, tokenizer, ids, package, graph.inputs(model / graph.GRAPH))
    job.reporter.stage("Converting")
    members = [member for member in members if _convert(bench, member)]
    job.reporter.stage("Proving")
    proofs = _prove(bench, members, others)
    members = [member for member in members if member.name in proofs]
    job.reporter.stage("Measuring")
    for number, member in enumerate(members, start=1):
        job.reporter.update(step=number, total_steps=len(members))
        found = _measure(bench, member, job.scratch / "rows" / member.name)
        proofs[member.name] = proofs[member.name].model_copy(update=found)
    for member in members:
        _conclude(bench, member, proofs[member.name])


def _convert(bench: _Workbench, member: Member) -> bool:
    """Write the adapter's file, and load it. False: it is left out."""
    assert member.adapter
    path = bench.file(member)
    try:
        weights = adapterfile.load_weights(member.folder / WEIGHTS)
        found = adapterfile.parameters(weights, member.adapter.config, bench.inputs)
        adapterfile.write(found, path)
        bench.package.load(path, member.name)
    except UnfitError as refused:
        _refuse(bench, member, refused)
        return False
    except (OSError, MemoryError):
        raise
    except Exception as error:
        log(traceback.format_exc())
        _refuse(bench, member, unreadable(error))
        return False
    return True


def _prove(
    bench: _Workbench, members: Sequence[Member], others: Sequence[Path]
) -> dict[str, Proof]:
    """By name, of those whose logits are peft's, and stay so whatever was active between."""
    job, ids, package = bench.job, bench.ids, bench.package
    candidates = [Candidate(it.name, bench.file(it), it.folder) for it in members]
    reference = Reference(job.source, len(ids))
    by_name = {member.name: member for member in members}
    proven: dict[str, Proof] = {}
    before: dict[str, str] = {}
    proofs = prove_likeness(candidates, package, reference, ids, job.bundling.precision)
    for number, (name, found, fingerprint) in enumerate(proofs, start=1):
        job.reporter.update(step=number, total_steps=len(members))
        if isinstance(found, UnfitError):
            _refuse(bench, by_name[name], found)
        else:
            proven[name], before[name] = found, fingerprint
            log(f"{name}: logits differ from peft's by at most {found.logits_difference:.2g}")
    for number, path in enumerate(others):
        package.load(path, f"other/{number}")
    loaded = [f"other/{number}" for number in range(len(others))]
    for name, alone in prove_isolation(package, ids, before, loaded).items():
        proven[name] = proven[name].model_copy(update={"isolated": alone})
        if not alone:
            refused = UnfitError(
                "NotIsolated",
                "its logits change after another adapter was active",
                "report it with the versions in index.json",
            )
            _refuse(bench, by_name[name], refused)
            del proven[name]
    return proven


def _measure(bench: _Workbench, member: Member, folder: Path) -> dict[str, Any]:
    """The adapter's own metric on its own run's rows, as fields of its proof."""
    try:
        found = _measured(bench, member, folder)
    except NoRowsError as error:
        log(f"{member.name}: not measured: {error}")
        return {"not_measured": str(error)[:300]}
    log(
        f"{member.name}: {found.metric} {found.value:.4f} on {found.examples} "
        f"{found.split} rows, its run reported {found.reported:.4f}"
    )
    return {"measured": found}


def _measured(bench: _Workbench, member: Member, folder: Path) -> Measured:
    """Raises NoRowsError, whatever its rows make a library raise; else what is no fault of
    theirs: storage, or this pod."""
    job = bench.job
    try:
        rows = read_rows(
            member.located,
            job.order,
            job.source,
            bench.tokenizer,
            folder,
            job.state.pod.began,
        )
        return measured(bench.package.as_model(member.name), rows)
    except (NoRowsError, OSError, MemoryError):
        raise
    except Exception as error:
        if from_exception(error).error.code in _OF_THE_POD:
            raise
        log(traceback.format_exc())
        # A library's words may hold a row; the status, which shows this, may not.
        kind = f"{type(error).__name__}, see the log"
        why = error if isinstance(error, TrainerError) else kind
        raise NoRowsError(f"its run's rows can't be asked here: {why}") from error


def _conclude(bench: _Workbench, member: Member, proof: Proof) -> None:
    allowed = bench.job.bundling.max_metric_drop
    try:
        if allowed is not None and member.located.manifest and proof.not_measured:
            raise UnfitError(
                "NotMeasurable",
                proof.not_measured,
                "put that right, or leave maxMetricDrop out",
            )
        judge_metric(proof, allowed)
    except UnfitError as refused:
        _refuse(bench, member, refused, proof)
    else:
        part = adapter_part(member, describe(bench.file(member)), proof)
        bench.job.membership.include(part)


def _refuse(bench: _Workbench, member: Member, why: UnfitError, proof: Proof | None = None) -> None:
    log(f"{member.name} is left out: {why.code}: {why}")
    bench.file(member).unlink(missing_ok=True)
    # What the rows' storage says may change without the adapter.
    key = None if why.code == "NotMeasurable" else member.key
    bench.job.membership.refuse(member.name, why, key, proof)
