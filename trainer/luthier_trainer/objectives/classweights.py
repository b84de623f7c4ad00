"""How much a row of each class counts in the loss. Pure."""

from collections.abc import Mapping, Sequence

from luthier_api.classification import Classification


def class_weights(
    wish: Classification, labels: Sequence[str], rows: Mapping[str, int]
) -> list[float] | None:
    """The weight of each label, in order; None: all count alike. `rows`: label → how many rows of
    train have it.

    Balanced ones are those of scikit-learn's compute_class_weight: their mean over the rows is 1.
    """
    if wish.weights is not None:
        return [wish.weights.get(label, 1.0) for label in labels]
    if wish.class_weights == "Equal":
        return None
    total = sum(rows[label] for label in labels)
    return [total / (len(labels) * rows[label]) for label in labels]


def positive_weights(
    wish: Classification, labels: Sequence[str], rows: Mapping[str, int], total: int
) -> list[float] | None:
    """How much more each label counts where a row has it, where a row may have several; None: no
    more. Balanced: as much as all rows without it, of the `total` of train."""
    if wish.weights is not None:
        return [wish.weights.get(label, 1.0) for label in labels]
    if wish.class_weights == "Equal":
        return None
    # A label that all rows have is nothing to balance.
    return [max(total - rows[label], 1) / rows[label] for label in labels]
