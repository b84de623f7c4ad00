"""What is learnt from answers of which one is preferred."""

from typing import Literal

from pydantic import Field

from luthier_api.meta import Model, Rule

PreferenceObjective = Literal["dpo", "ipo", "orpo", "kto", "simpo"]

# As the papers' authors set them; simpo's, and GAMMA, are those for Llama-3-Base.
BETAS: dict[PreferenceObjective, float] = {
    "dpo": 0.1,
    "ipo": 0.1,
    "orpo": 0.1,
    "kto": 0.1,
    "simpo": 2.0,
}
GAMMA = 1.0


class Preference(Model):
    """How the better answer is told from the worse one. dpo, ipo and kto compare with the model
    that the training begins with; orpo and simpo do without it."""

    objective: PreferenceObjective = Field(
        default="dpo",
        description="dpo (https://arxiv.org/abs/2305.18290); ipo "
        "(https://arxiv.org/abs/2310.12036), per token; orpo (https://arxiv.org/abs/2403.07691), "
        "which learns the chosen answer as well; kto (https://arxiv.org/abs/2402.01306), also of "
        "answers that are desirable or not, one by one; simpo (https://arxiv.org/abs/2405.14734).",
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="dpo, kto: how much it costs to move away from the start; ipo: its τ; orpo: "
        "the weight of the odds ratio, its λ; simpo: the scale of rewards. Left out: 0.1, of "
        "simpo 2.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        le=0.49,  # the API server would read an exclusive bound of 0.5 as one of 0
        description="dpo, simpo: the share of rows whose answers are taken to be swapped.",
    )
    sft_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="dpo, ipo, simpo: weight of learning the chosen answer as well, by its mean "
        "loss per token (https://arxiv.org/abs/2404.19733).",
    )
    gamma: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="simpo: by how much the chosen answer's reward is to be higher. Left out: 1.",
    )
    desirable_weight: float = Field(
        default=1.0, gt=0, le=100, description="kto: weight of desirable (chosen) answers."
    )
    undesirable_weight: float = Field(
        default=1.0, gt=0, le=100, description="kto: weight of undesirable (rejected) answers."
    )

    rules = (
        Rule(
            "self.labelSmoothing == 0.0 || self.objective in ['dpo', 'simpo']",
            "labelSmoothing is for the objectives dpo and simpo: remove it, or change objective",
            field=".labelSmoothing",
        ),
        Rule(
            "self.sftWeight == 0.0 || self.objective in ['dpo', 'ipo', 'simpo']",
            "sftWeight is for the objectives dpo, ipo and simpo (orpo learns the chosen answer "
            "anyway): remove it, or change objective",
            field=".sftWeight",
        ),
        Rule(
            "!has(self.gamma) || self.objective == 'simpo'",
            "gamma is for the objective simpo: remove it, or change objective",
            field=".gamma",
        ),
        *(
            Rule(
                f"self.{name} == 1.0 || self.objective == 'kto'",
                f"{name} is for the objective kto: remove it, or change objective",
                field=f".{name}",
            )
            for name in ("desirableWeight", "undesirableWeight")
        ),
    )
