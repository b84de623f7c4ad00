"""What differs in the words about the runs of different kinds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Halves of sentences, for people."""

    memory: str  # the remedy for want of memory
    deadline: str  # what becomes of the run when its deadline is raised
    suspending: str  # what a pod does that is told to end
    found_again: str  # what a retry costs when only the result's message was lost
