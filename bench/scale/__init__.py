"""The operator at scale, against a real control plane whose pods are simulated by kwok.

`python -m bench scale` measures burst, idle and start; `python -m bench.scale` has each of them
alone, take-over and chaos, and profiles.
"""

from bench.figures import Rows


def rows() -> Rows:
    """(what, figure) for the table."""
    from bench.scale.measures import DEFAULT, measured

    return [row for figures in measured(DEFAULT) for row in figures.rows()]
