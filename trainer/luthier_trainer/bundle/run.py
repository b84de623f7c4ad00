"""A run that builds a bundle: the stages in order, and what is told at its end."""

import hashlib
import json
from pathlib import Path

from luthier_api.adapterbundle import BundleProof
from luthier_api.result import BundleResult
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.contents import Contents
from luthier_trainer.bundle.index import Index, base_key
from luthier_trainer.bundle.make import Maker
from luthier_trainer.bundle.members import examine, require_access
from luthier_trainer.bundle.membership import Membership
from luthier_trainer.bundle.previous import read_previous
from luthier_trainer.bundle.prune import prune
from luthier_trainer.bundle.target import require_target
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.models import cache
from luthier_trainer.packages.genai.base import read_base
from luthier_trainer.pod import publish
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.open import open_store


class BundleRun:
    """The state of this pod's run. `execute` does it; `result` tells how far it came."""

    def __init__(self, order: BundleOrder) -> None:
        self.order = order
        self.pod = Pod(order)
        self.membership = Membership(order, lambda ends: self.pod.reporter.set(adapters=ends))
        self.proof: BundleProof | None = None

    def execute(self) -> BundleResult:
        """All stages. Raises TrainerError, Interrupted or Superseded."""
        with self.pod.scratch() as folder:
            return self._stages(folder)

    def result(self, outcome: str, failure: TrainerError | None = None) -> BundleResult:
        """What is known now, as the end of this pod."""
        return BundleResult(
            **self.pod.end(outcome, failure), adapters=self.membership.ends, proof=self.proof
        )

    def _stages(self, scratch: Path) -> BundleResult:
        order, stage = self.order, self.pod.reporter.stage
        stage("Preflight")
        require_target(order.bundling)
        output = open_store(order.output, order.storage, "output.uri")
        if found := finished(output, order):
            return self.pod.again(BundleResult, *found)
        wanted = order.bundling.base
        model = cache.find_model(wanted.uri, wanted.revision, order, "base.uri")
        if found := finished(output, order, _digest(order)):
            require_access(order)
            return self.pod.again(BundleResult, *found)
        attempts = self.pod.claim(output, _digest(order))
        self.pod.begin(0)

        stage("Loading")
        source = cache.local_folder(model, order)
        int4 = order.bundling.int4 if order.bundling.precision == "int4" else None
        base = read_base(source, wanted.uri, cache.digest(source, model), int4)

        stage("Checking")
        previous = read_previous(order.previous, order)
        versions = publish.versions(onnx=True)
        key = base_key(base.digest, order.bundling, versions)
        members = examine(order, base, key, previous, self.membership, scratch / "adapters")
        self.membership.check()

        contents = Contents(scratch / "package")
        maker = Maker(order, self.pod, self.membership, previous, contents, source, scratch)
        part = maker.make(base, key, members)
        self.membership.check()

        stage("Publishing")
        index = Index(
            base=part,
            adapters=self.membership.included,
            left_out=self.membership.left_out,
            versions=versions,
        )
        taken = {member.name for member in members if member.taken}
        self.proof = _summary(index, taken)
        contents.write(f"{order.run.namespace}/{order.run.name}", index)
        attempts.fence()
        copied = contents.copy(output)
        attempts.end("Succeeded", None, self.pod.usage())
        details = {
            "baseModel": {
                "uri": base.uri,
                "digest": base.digest,
                "revision": model.commit,
                "licence": model.licence,
            },
            "sources": [adapter.to_json() for adapter in order.adapters],
            "customCode": any(part.custom_code for part in index.adapters),
        }
        result = self.result("Succeeded")
        ref = publish.publish(
            output, contents.folder, order, details, result, attempts.fence, copied
        )
        log(f"published {ref.uri}: {len(index.adapters)} adapters, {self.proof.rebuilt} built anew")
        prune(order)
        stage("Done")
        self.pod.reporter.close()
        return result.model_copy(update={"artifact": ref})


def _summary(index: Index, taken: set[str]) -> BundleProof:
    """`taken`: names of adapters that are as in the package before."""
    proofs = [part.proof for part in index.adapters]
    sizes = [file.bytes for file in index.base.files.values()]
    return BundleProof(
        adapters=len(index.adapters),
        logits_difference=max(proof.logits_difference for proof in proofs),
        isolated=all(proof.isolated for proof in proofs),
        rebuilt=sum(part.name not in taken for part in index.adapters),
        size_bytes=sum(sizes) + sum(part.bytes for part in index.adapters),
    )


def _digest(order: BundleOrder) -> str:
    """Of where the parts come from; what they are is told by the index."""
    sources = [order.bundling.base.to_json(), *(it.to_json() for it in order.adapters)]
    return "sha256:" + hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
