"""A row as both models answered it, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answered:
    """What was asked, what is right, and what both models made of it."""

    prompt: str
    expected: str
    base: str
    tuned: str
