"""Whether a training has the evaluations that its settings go by."""

from luthier_api.training import NEEDED_EVALUATIONS, Training
from luthier_trainer.errors import unsupported
from luthier_trainer.log import log

# For evalEverySteps, of a training that is measured at its end alone.
AT_THE_END = 1_000_000


def check_evaluations(training: Training, steps: int) -> None:
    """Raises TrainerError (TooFewEvaluations) where what watches them would never act. `steps`: of
    the whole training, which is only known here where epochs are given."""
    every = training.eval_every_steps
    if every is None:
        return
    # That of the last step comes too late for all of them.
    count = (steps - 1) // every
    watching: str = training.scheduler
    needed = NEEDED_EVALUATIONS.get(watching, 0)
    if training.early_stopping and not needed:
        needed, watching = 1, "earlyStopping"
    if count < needed:
        most = (steps - 1) // needed
        remedy = (
            f"set evalEverySteps to at most {most}, or train longer"
            if most
            else f"train longer, or do without {watching}"
        )
        raise unsupported(
            "TooFewEvaluations",
            f"the training has {steps} steps and evaluates every {every}: {count} times before its "
            f"end, and {watching} needs {needed} to do anything; {remedy}",
            "training.evalEverySteps",
        )
    if steps < every < AT_THE_END:
        log(f"warning: evalEverySteps {every} is more than the {steps} steps: only the end counts")
