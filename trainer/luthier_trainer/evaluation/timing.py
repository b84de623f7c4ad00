"""How fast a model reads and generates, and what memory it takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Of one prompt length with one batch size. Speeds and times are medians of the repeats but
    `first_token_p95_ms`; speeds are summed over the batch.

    `generated_tokens_per_second`: of all tokens behind the first; None: it generates nothing.
    `memory_bytes`: the most that the process ever had.
    """

    prompt_tokens: int
    batch_size: int
    new_tokens: int
    load_seconds: float
    memory_bytes: int
    prompt_tokens_per_second: float
    first_token_ms: float
    first_token_p95_ms: float
    generated_tokens_per_second: float | None

    @property
    def tokens_per_second(self) -> float:
        """Of generation; of what generates nothing: of reading."""
        return self.generated_tokens_per_second or self.prompt_tokens_per_second
