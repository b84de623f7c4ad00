"""The learning rate and warm-up that `learningRate: auto` comes to."""

from luthier_api.methods import MethodType
from luthier_api.training import Training
from luthier_trainer.errors import unsupported
from luthier_trainer.models.architecture import Kind

# Of AdamW. What is trained decides: whole weights move little, a few vectors far.
_RATES: dict[MethodType, float] = {
    "lora": 2e-4,
    "qlora": 2e-4,
    "adapter": 1e-3,
    "ia3": 1e-2,
    "prefix": 3e-2,
    "prompt": 3e-2,
}
_FULL: dict[Kind, float] = {"decoder": 2e-5, "encoder": 5e-5, "encoder-decoder": 5e-5}
_LION = 0.2  # its steps have the size of the rate, whatever the gradient's
# Of what has learnt to answer already: 1e-6 for all weights and 1e-5 for LoRA, as in TRL's guide.
_PREFERENCE = 0.05
_WARMUP = 0.05
_WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau", "greedy")


def with_rate(
    training: Training, method: MethodType, kind: Kind, *, preference: bool = False
) -> Training:
    """The same, with numbers for `auto`: the rate, and a warm-up where none is set. `preference`:
    whether that is the task.

    Raises TrainerError (MinLearningRateTooHigh).
    """
    if training.learning_rate != "auto":
        return training
    rate = _FULL[kind] if method == "full" else _RATES[method]
    if "lion" in training.optimizer:
        rate *= _LION
    if preference:
        rate *= _PREFERENCE
    options = training.scheduler_options
    lowest = options.min_learning_rate if options else None
    if lowest is not None and lowest >= rate:
        raise unsupported(
            "MinLearningRateTooHigh",
            f"learningRate auto is {rate:g} here, and minLearningRate, where it ends, is "
            f"{lowest:g}: lower it, or set learningRate",
            "training.schedulerOptions.minLearningRate",
        )
    warmup = training.warmup_ratio
    if not warmup and training.scheduler not in _WITHOUT_WARMUP:
        falling = options.decay_ratio if options and options.decay_ratio else 0.0
        warmup = min(_WARMUP, 1 - falling)
    return training.model_copy(update={"learning_rate": rate, "warmup_ratio": warmup})


def notes(wish: Training, training: Training) -> dict[str, str]:
    """What `auto` came to, for people."""
    if wish.learning_rate != "auto":
        return {}
    return {
        "learningRate": f"{rate_of(training):g}",
        "warmupRatio": f"{training.warmup_ratio:g}",
    }


def rate_of(training: Training) -> float:
    """The rate of a training in which `auto` is a number already."""
    assert training.learning_rate != "auto"
    return training.learning_rate
