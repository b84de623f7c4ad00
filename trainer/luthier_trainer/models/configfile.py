"""config.json and its kin in a model's folder, whoever wrote them: read within bounds."""

import json
from pathlib import Path
from typing import Any

# The largest have some hundred kB: a class of its own for every label.
_MOST_BYTES = 16_000_000


def read_json(path: Path, most: int = _MOST_BYTES) -> dict[str, Any]:
    """Raises ValueError, in words, unless it is a JSON object of at most so many bytes; OSError
    where there is none."""
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"{path.name} has {size:,} bytes")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON: {str(error)[:100]}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return found
