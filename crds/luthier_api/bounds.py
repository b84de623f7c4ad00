"""Bounds of what a pod sends, so that no number, name or list of one run can harm another's."""

from typing import Annotated

from pydantic import Field

# The largest number that every reader of JSON keeps exactly: 9 PB, or 285 million years.
MOST = 2**53

Count = Annotated[int, Field(ge=0, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=MOST)]

# Entries of what a pod lists, with room beyond what a run has: as text an entry needs a few bytes,
# and in memory a kilobyte. What a status holds of them has bounds of its own.
MOST_CHECKPOINTS = 128
MOST_RESOLVED = 64
MOST_METRICS = 64
MOST_CANDIDATES = 16
MOST_ADAPTERS = 64
MOST_TRIALS = 100
