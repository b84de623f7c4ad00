"""What `make test` leaves to `make test-all` is repetition."""

import ast
from itertools import combinations
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from matrices import MATRICES, Matrix, covering, repeated

ROOT = Path(__file__).parents[3]
_AXES = ("a", "b", "c")
_CELLS = st.lists(st.fixed_dictionaries(dict.fromkeys(_AXES, st.integers(0, 4))), max_size=40)


@given(cells=_CELLS)
def test_all_pairs_that_occur_are_kept(cells: list[dict[str, int]]) -> None:
    dropped = repeated(Matrix(pairs=("a", "b"), each=("c",)), cells)
    kept = [cell for cell, again in zip(cells, dropped, strict=True) if not again]

    def pairs(of: list[dict[str, int]]) -> set[tuple[int, int]]:
        return {(cell["a"], cell["b"]) for cell in of}

    assert pairs(kept) == pairs(cells)
    assert {cell["c"] for cell in kept} == {cell["c"] for cell in cells}


@given(cells=_CELLS)
def test_none_is_kept_for_nothing(cells: list[dict[str, int]]) -> None:
    wanted = [Matrix(pairs=_AXES).wanted(cell) for cell in cells]
    chosen = covering(wanted)
    assert len(chosen) <= len(frozenset().union(*wanted))
    assert len({wanted[number] for number in chosen}) == len(chosen), "none twice"


def test_the_same_cells_each_time() -> None:
    """Workers collect by themselves, and must agree."""
    cells = [{"a": a, "b": b, "c": c} for a in range(3) for b in range(3) for c in range(3)]
    matrix = Matrix(pairs=_AXES)
    assert repeated(matrix, cells) == repeated(matrix, cells)
    kept = len(cells) - sum(repeated(matrix, cells))
    assert 9 <= kept < len(cells) == 27, "9 are the fewest that hold all pairs"


def test_every_matrix_is_of_a_test_with_such_parameters() -> None:
    for name, matrix in MATRICES.items():
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        [found] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
        arguments = {argument.arg for argument in found.args.args}
        axes = {axis.partition(".")[0] for axis in (*matrix.pairs, *matrix.each)}
        assert {"architecture" if axis == "kind" else axis for axis in axes} <= arguments, name
        assert len(matrix.pairs) != 1, name
        assert not any(a == b for a, b in combinations((*matrix.pairs, *matrix.each), 2))
