"""What is known of a bundle so far: what its end, in this pod, tells."""

from luthier_api.adapterbundle import BundleProof
from luthier_api.result import BundleResult
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.membership import Membership
from luthier_trainer.errors import TrainerError
from luthier_trainer.pod.pod import Pod


class State:
    """Each stage leaves here what it learnt."""

    def __init__(self, order: BundleOrder, pod: Pod) -> None:
        self.order = order
        self.pod = pod
        self.membership = Membership(order, lambda ends: pod.reporter.set(adapters=ends))
        self.proof: BundleProof | None = None

    def result(self, outcome: str, failure: TrainerError | None = None) -> BundleResult:
        """What is known now, as the end of this pod."""
        return BundleResult(
            **self.pod.end(outcome, failure), adapters=self.membership.ends, proof=self.proof
        )
