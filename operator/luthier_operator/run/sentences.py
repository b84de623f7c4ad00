"""What differs between the kinds in what is said of their runs: whole sentences, for people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentences:
    """One each for a place where the shared ones aren't enough."""

    more_memory: str  # the remedy for want of memory
    goes_on: str  # how the next attempt begins, where the last one saved something
    suspending: str  # what a pod does that is told to end
    found_again: str  # what a retry costs when only the result's message was lost


BEGINS_AGAIN = "The next attempt begins again."
