"""What describes the package written, and the package published."""

from luthier_api.adapterbundle import BundleProof
from luthier_api.result import BundleResult
from luthier_trainer.bundle.index import BasePart, Index
from luthier_trainer.bundle.job import Job
from luthier_trainer.bundle.prune import prune
from luthier_trainer.log import log
from luthier_trainer.pod.publish import publish as publish_artifact


def publish(job: Job, base: BasePart, taken: set[str]) -> BundleResult:
    """`taken`: names of adapters that are as in the package before. Raises Superseded."""
    job.reporter.stage("Publishing")
    state, order, membership = job.state, job.order, job.membership
    index = Index(
        base=base,
        adapters=membership.included,
        left_out=membership.left_out,
        versions=job.versions,
    )
    state.proof = _summary(index, taken)
    job.contents.write(f"{order.run.namespace}/{order.run.name}", index)
    job.attempts.fence()
    copied = job.contents.copy(job.output)
    job.attempts.end("Succeeded", None, state.pod.usage())
    details = {
        "baseModel": {
            "uri": job.base.uri,
            "digest": job.base.digest,
            "revision": job.found.commit,
            "licence": job.found.licence,
        },
        "sources": [adapter.to_json() for adapter in order.adapters],
        "customCode": any(part.custom_code for part in index.adapters),
    }
    result = state.result("Succeeded")
    ref = publish_artifact(
        job.output, job.contents.folder, order, details, result, job.attempts.fence, copied
    )
    log(f"published {ref.uri}: {len(index.adapters)} adapters, {state.proof.rebuilt} built anew")
    prune(order)
    job.reporter.stage("Done")
    job.reporter.close()
    return result.model_copy(update={"artifact": ref})


def _summary(index: Index, taken: set[str]) -> BundleProof:
    proofs = [part.proof for part in index.adapters]
    sizes = [file.bytes for file in index.base.files.values()]
    return BundleProof(
        adapters=len(index.adapters),
        logits_difference=max(proof.logits_difference for proof in proofs),
        isolated=all(proof.isolated for proof in proofs),
        rebuilt=sum(part.name not in taken for part in index.adapters),
        size_bytes=sum(sizes) + sum(part.bytes for part in index.adapters),
    )
