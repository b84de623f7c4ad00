"""A dictionary of two adapters by turns: `meanings` says what a word means, and `classes` what
kind of thing that is. One base in memory, and no waiting between them.

    python examples/bundle/chat.py PACKAGE [WORD …]

PACKAGE is the folder of the bundle, e.g. out/team-a/dictionary/r1-5f2c1e9a, or a copy of it from
S3. Without words it asks for them. Only onnxruntime-genai is needed.
"""

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SYSTEM = "You are a dictionary. Answer with one short definition."


def load(package: Path) -> Any:
    """The bundle, by the loader that lies in its package."""
    spec = importlib.util.spec_from_file_location("luthier_bundle", package / "luthier_bundle.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Bundle(package)


def look_up(bundle: Any, word: str) -> tuple[str, str]:
    """(meaning, class) of a word. Each adapter is asked as it was trained."""
    question = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"What is the meaning of “{word}”?"},
    ]
    meaning: str = bundle.generate("meanings", question, max_new_tokens=48).strip()
    prompt = f"Definition: {meaning}\nCategory:"
    kind: str = bundle.generate("classes", prompt, max_new_tokens=4).strip()
    return meaning, kind


def asked() -> Iterator[str]:
    """Words that are typed, up to an empty line."""
    while word := input("word: ").strip():
        yield word


def main() -> None:
    if len(sys.argv) < 2 or not (Path(sys.argv[1]) / "index.json").is_file():
        raise SystemExit(__doc__)
    bundle = load(Path(sys.argv[1]))
    words: Iterable[str] = sys.argv[2:] or asked()
    for word in words:
        meaning, kind = look_up(bundle, word)
        print(f"{word} ({kind}): {meaning}")


if __name__ == "__main__":
    main()
