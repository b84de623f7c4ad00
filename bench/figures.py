"""How measured values are written."""

import statistics

Rows = list[tuple[str, str]]


def figure(values: list[float], unit: str, digits: int = 1) -> str:
    """Median (least to most, n)."""
    ordered = sorted(values)
    low, high = f"{ordered[0]:.{digits}f}", f"{ordered[-1]:.{digits}f}"
    return f"{statistics.median(ordered):.{digits}f} {unit} ({low} to {high}, n={len(ordered)})"


def ratio(values: list[float], base: list[float]) -> str:
    """How many times the median of `base`."""
    return f"{statistics.median(values) / statistics.median(base):.2f} ×"
