"""Matrices of tests: which of their cells `make test` runs; `make test-all` runs all of them.

A cell is a test with one choice of parameters. What is kept covers all pairs of values of the
named axes that occur together in any cell, and each single value of the axes in `each`: every
method meets every form, say, though not on every architecture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Matrix:
    """Axes are names of parameters, with attributes behind a dot (`cell.method`), or `kind`: that
    of the parameter `architecture`."""

    pairs: Sequence[str] = ()
    each: Sequence[str] = ()

    def wanted(self, cell: Mapping[str, Any]) -> frozenset[tuple[Any, ...]]:
        """What a cell covers."""
        axes = {axis: _value(cell, axis) for axis in (*self.pairs, *self.each)}
        both = ((a, axes[a], b, axes[b]) for a, b in combinations(self.pairs, 2))
        return frozenset((*axes.items(), *both))


_EVERY_METHOD = Matrix(pairs=("method", "kind"), each=("architecture",))
MATRICES: dict[str, Matrix] = {
    f"tests/unit/trainer/{name}": matrix
    for name, matrix in {
        "test_run_methods.py::test_a_run_learns_and_its_artifact_gives_the_reported_loss": Matrix(
            pairs=("cell.form.task", "cell.method", "cell.kind"),
            each=("cell.form.name", "cell.architecture"),
        ),
        "test_methods.py::test_a_method_on_an_architecture": _EVERY_METHOD,
        "test_methods_heads.py::test_a_method_with_a_head": Matrix(
            pairs=("auto_class", "method"), each=("architecture",)
        ),
        "test_methods_generation.py::test_generation_is_that_of_the_tuned_model": _EVERY_METHOD,
        "test_methods_precision.py::test_bf16_is_for_what_is_frozen": _EVERY_METHOD,
        "test_methods_precision.py::test_recomputed_layers_give_the_same_gradients": _EVERY_METHOD,
        "test_estimate.py::test_what_is_counted_of_two_rows_is_what_eight_need": Matrix(
            pairs=("method", "architecture", "precision", "checkpointing")
        ),
        "test_estimate.py::test_what_is_counted_holds_for_every_architecture": Matrix(
            pairs=("method", "checkpointing"), each=("architecture",)
        ),
        "test_merge.py::test_every_architecture": _EVERY_METHOD,
        "test_merge.py::test_settings_of_lora": Matrix(each=("settings", "method")),
        "test_neftune.py::test_the_loss_is_another_one_while_there_is_noise": Matrix(
            pairs=("method", "auto_class"), each=("architecture",)
        ),
        "test_objectives_loss.py::test_equals_transformers": Matrix(each=("make", "name")),
        "test_objectives_loss.py::test_pairs_equal_texts_by_themselves": Matrix(
            each=("name", "pooling")
        ),
        "test_packing.py::test_equals_padded": Matrix(
            pairs=("kernel", "learn_prompt"), each=("name",)
        ),
    }.items()
}


def _value(cell: Mapping[str, Any], axis: str) -> str:
    """As text, so that values that can't be hashed can be told apart."""
    if axis == "kind":
        from unit.trainer.run_cells import architecture_of

        return architecture_of(cell["architecture"]).kind
    return repr(attrgetter(axis)(SimpleNamespace(**cell)))


def covering(wanted: Sequence[frozenset[Any]]) -> set[int]:
    """Numbers of the sets that together have all elements: the one that adds most, time and again.

    At most ln(elements) + 1 times as many as the fewest (Chvátal 1979).
    """
    missing = set().union(*wanted)
    chosen: set[int] = set()
    while missing:
        best = max(range(len(wanted)), key=lambda i: (len(wanted[i] & missing), -i))
        chosen.add(best)
        missing -= wanted[best]
    return chosen


def repeated(matrix: Matrix, cells: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each cell, whether others cover all that it does."""
    chosen = covering([matrix.wanted(cell) for cell in cells])
    return [number not in chosen for number in range(len(cells))]
