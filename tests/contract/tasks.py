"""Parts of a manifest: what is learnt from which columns, and code of one's own."""

from typing import Any

from contract.manifests import REMOVED

CODE = {"configMapRef": {"name": "code", "key": "code.py"}, "entrypoint": "Code"}


def columns(**names: str) -> dict[str, Any]:
    """Columns in place of the template."""
    return {"dataset.template": REMOVED, "dataset.columns": names}


WORDS = {"task": "generation"}
CLASSES = columns(text="phrase", label="tone")
TOPICS = columns(text="phrase", labels="topics")
NUMBER = {"task": "regression", **columns(text="phrase", label="stars")}
TAGS = {"task": "extraction", **columns(tokens="words", tags="tags")}
PAIRS = {"task": "similarity", **columns(first="one", second="other", label="score")}
UNLABELLED = {"task": "similarity", **columns(first="one", second="other")}
NEGATIVES = {**UNLABELLED, "training.similarity": {"objective": "in_batch_negatives"}}
