"""Adapters built for a package, and proven: what needs torch and onnxruntime-genai.

Both are slow to import, so this module is imported only where something is built.
"""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.fetch import WEIGHTS
from luthier_trainer.bundle.index import Measured, Proof
from luthier_trainer.bundle.members import Member, unreadable
from luthier_trainer.bundle.membership import Membership
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
from luthier_trainer.pod.pod import Pod

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


class Assembly:
    """Adapters on their way into a package.

    `base`: folder of the unquantised model; `model`: of the graph; `package`: that of the new
    package; `others`: adapters' files that were proven before.
    """

    def __init__(
        self,
        order: BundleOrder,
        pod: Pod,
        membership: Membership,
        base: Path,
        model: Path,
        package: Path,
    ) -> None:
        self._order, self._pod, self._membership = order, pod, membership
        self._base, self._model, self._folder = base, model, package
        self._precision = order.bundling.precision
        self._tokenizer = load_tokenizer(base)
        self._proofs: dict[str, Proof] = {}

    def execute(self, members: Sequence[Member], others: Sequence[Path], scratch: Path) -> None:
        """Let those in that pass their proof. Raises TrainerError."""
        self._ids = probe_tokens(self._tokenizer)
        self._package = open_package(self._model, self._ids, self._precision)
        self._inputs = graph.inputs(self._model / graph.GRAPH)
        self._pod.reporter.stage("Converting")
        members = [member for member in members if self._convert(member)]
        self._pod.reporter.stage("Proving")
        members = self._prove_likeness(members, others)
        self._measure(members, scratch)
        for member in members:
            self._conclude(member)

    def _convert(self, member: Member) -> bool:
        """Write the adapter's file, and load it. False: it is left out."""
        assert member.adapter
        path = self._file(member)
        try:
            weights = adapterfile.load_weights(member.folder / WEIGHTS)
            found = adapterfile.parameters(weights, member.adapter.config, self._inputs)
            adapterfile.write(found, path)
            self._package.load(path, member.name)
        except UnfitError as refused:
            self._refuse(member, refused)
            return False
        except (OSError, MemoryError):
            raise
        except Exception as error:
            log(traceback.format_exc())
            self._refuse(member, unreadable(error))
            return False
        return True

    def _prove_likeness(self, members: Sequence[Member], others: Sequence[Path]) -> list[Member]:
        """Those whose logits are peft's, and stay so whatever was active between."""
        ids = self._ids
        candidates = [Candidate(it.name, self._file(it), it.folder) for it in members]
        reference = Reference(self._base, len(ids))
        by_name = {member.name: member for member in members}
        before: dict[str, str] = {}
        proofs = prove_likeness(candidates, self._package, reference, ids, self._precision)
        for number, (name, found, fingerprint) in enumerate(proofs, start=1):
            self._pod.reporter.update(step=number, total_steps=len(members))
            if isinstance(found, UnfitError):
                self._refuse(by_name[name], found)
            else:
                self._proofs[name], before[name] = found, fingerprint
                log(f"{name}: logits differ from peft's by at most {found.logits_difference:.2g}")
        for number, path in enumerate(others):
            self._package.load(path, f"other/{number}")
        loaded = [f"other/{number}" for number in range(len(others))]
        isolated = prove_isolation(self._package, ids, before, loaded)
        for name, alone in isolated.items():
            self._proofs[name] = self._proofs[name].model_copy(update={"isolated": alone})
            if not alone:
                refused = UnfitError(
                    "NotIsolated",
                    "its logits change after another adapter was active",
                    "report it with the versions in index.json",
                )
                self._refuse(by_name[name], refused)
        return [by_name[name] for name, alone in isolated.items() if alone]

    def _measure(self, members: Sequence[Member], scratch: Path) -> None:
        """Each adapter's own metric on its own run's rows."""
        self._pod.reporter.stage("Measuring")
        for number, member in enumerate(members, start=1):
            self._pod.reporter.update(step=number, total_steps=len(members))
            try:
                found = self._measured(member, scratch / member.name)
            except NoRowsError as error:
                log(f"{member.name}: not measured: {error}")
                self._note(member, not_measured=str(error)[:300])
                continue
            self._note(member, measured=found)
            log(
                f"{member.name}: {found.metric} {found.value:.4f} on {found.examples} "
                f"{found.split} rows, its run reported {found.reported:.4f}"
            )

    def _measured(self, member: Member, folder: Path) -> Measured:
        """Raises NoRowsError, whatever its rows make a library raise; else what is no fault of
        theirs: storage, or this pod."""
        try:
            rows = read_rows(
                member.located,
                self._order,
                self._base,
                self._tokenizer,
                folder,
                self._pod.began,
            )
            return measured(self._package.as_model(member.name), rows)
        except (NoRowsError, OSError, MemoryError):
            raise
        except Exception as error:
            if from_exception(error).error.code in _OF_THE_POD:
                raise
            log(traceback.format_exc())
            # A library's words may hold a row; the status, which shows this, may not.
            told = f"{type(error).__name__}, see the log"
            why = error if isinstance(error, TrainerError) else told
            raise NoRowsError(f"its run's rows can't be asked here: {why}") from error

    def _note(self, member: Member, **fields: Any) -> None:
        self._proofs[member.name] = self._proofs[member.name].model_copy(update=fields)

    def _conclude(self, member: Member) -> None:
        proof = self._proofs[member.name]
        allowed = self._order.bundling.max_metric_drop
        try:
            if allowed is not None and member.located.manifest and proof.not_measured:
                raise UnfitError(
                    "NotMeasurable",
                    proof.not_measured,
                    "put that right, or leave maxMetricDrop out",
                )
            judge_metric(proof, allowed)
        except UnfitError as refused:
            self._refuse(member, refused, proof)
        else:
            self._membership.include(adapter_part(member, describe(self._file(member)), proof))

    def _refuse(self, member: Member, why: UnfitError, proof: Proof | None = None) -> None:
        log(f"{member.name} is left out: {why.code}: {why}")
        self._file(member).unlink(missing_ok=True)
        # What the rows' storage says may change without the adapter.
        key = None if why.code == "NotMeasurable" else member.key
        self._membership.refuse(member.name, why, key, proof)

    def _file(self, member: Member) -> Path:
        return self._folder / adapter_file(member.name)
