"""What is known of an optimisation so far: what its end, in this pod, tells."""

from luthier_api.optimizejob import Candidate
from luthier_api.result import OptimizeResult
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.errors import TrainerError
from luthier_trainer.pod.pod import Pod
from luthier_trainer.pod.progress import Pace


class State:
    """Each stage leaves here what it learnt."""

    def __init__(self, order: OptimizeOrder, pod: Pod) -> None:
        self.order = order
        self.pod = pod
        self.baseline: Candidate | None = None
        self.candidates: list[Candidate] = []
        self.pace = Pace(0, 0)  # until it is known how many are tried

    def result(self, outcome: str, failure: TrainerError | None = None) -> OptimizeResult:
        """What is known now, as the end of this pod."""
        return OptimizeResult(
            **self.pod.end(outcome, failure),
            baseline=self.baseline,
            candidates=self.candidates,
        )

    def tell(self) -> None:
        """The next report has what is known now."""
        self.pod.reporter.set(baseline=self.baseline, candidates=list(self.candidates))
