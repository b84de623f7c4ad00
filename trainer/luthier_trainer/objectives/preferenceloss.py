"""Losses of answers that are preferred, by their log-probabilities. Pure.

Each is of one row (of one answer: of KTO), so that a batch's loss is a sum. Log-probabilities are
of an answer's tokens with its end token, behind the prompt.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from luthier_api.preference import BETAS, GAMMA, Preference


@dataclass(frozen=True)
class Scored:
    """Answers, one a row: log-probability by the model, and by the one that the training began with
    (None: the objective does without), and how many tokens they have. fp32 [rows]."""

    model: Tensor
    start: Tensor | None
    tokens: Tensor

    @property
    def mean(self) -> Tensor:
        """Log-probability of a token."""
        return self.model / self.tokens

    @property
    def gain(self) -> Tensor:
        """How much likelier than at the start."""
        assert self.start is not None
        return self.model - self.start


def beta_of(settings: Preference) -> float:
    return BETAS[settings.objective] if settings.beta is None else settings.beta


def needs_start(settings: Preference) -> bool:
    """Whether the loss compares with the model that the training began with."""
    return settings.objective in ("dpo", "ipo", "kto")


def pair_losses(settings: Preference, chosen: Scored, rejected: Scored) -> Tensor:
    """Of all objectives but KTO: [rows]."""
    beta = beta_of(settings)
    match settings.objective:
        case "dpo":
            losses = _logistic(beta * (chosen.gain - rejected.gain), settings.label_smoothing)
        case "ipo":
            # Per token, as its authors computed it, though the paper doesn't say so.
            gap = chosen.gain / chosen.tokens - rejected.gain / rejected.tokens
            losses = (gap - 1 / (2 * beta)).square()
        case "simpo":
            gamma = GAMMA if settings.gamma is None else settings.gamma
            gap = beta * (chosen.mean - rejected.mean) - gamma
            losses = _logistic(gap, settings.label_smoothing)
        case _:
            odds = _log_odds(chosen.mean) - _log_odds(rejected.mean)
            return -chosen.mean - beta * F.logsigmoid(odds)
    return losses - settings.sft_weight * chosen.mean if settings.sft_weight else losses


def kto_losses(settings: Preference, answers: Scored, desirable: Tensor, moved: Tensor) -> Tensor:
    """[rows]. `desirable`: whether each answer is; `moved`: how far the model has moved from the
    start (its estimate of their KL divergence), at least 0, which no gradient goes through."""
    away = beta_of(settings) * (answers.gain - moved)
    weights = torch.where(desirable, settings.desirable_weight, settings.undesirable_weight)
    return weights * (1 - torch.where(desirable, away, -away).sigmoid())


def rewards(settings: Preference, answers: Scored) -> Tensor:
    """What the objective takes for an answer's worth: [rows]."""
    worth = answers.gain if needs_start(settings) else answers.mean
    return beta_of(settings) * worth


def _logistic(gap: Tensor, smoothing: float) -> Tensor:
    """-log σ; with `smoothing` that share of rows is the other way round."""
    losses = -F.logsigmoid(gap)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * F.logsigmoid(-gap)
    return losses


def _log_odds(logp: Tensor) -> Tensor:
    """log (p / (1 - p)). A probability of 1 is one that is a little less."""
    logp = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    near = logp > -math.log(2)
    # Each form where it is exact, and no gradient of the other one.
    far = torch.log1p(-torch.where(near, -1.0, logp).exp())
    close = torch.log(-torch.expm1(torch.where(near, logp, -1.0)))
    return logp - torch.where(near, close, far)
