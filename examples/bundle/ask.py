"""What does a definition define? Two adapters of one bundle answer by turns: `wordclass` whether
it is a noun, verb, adjective or adverb, and `wordnet` what kind of thing a noun is.

    python examples/bundle/ask.py PACKAGE [DEFINITION …]

PACKAGE is the folder of glosses.yaml's bundle, e.g. out/team-a/glosses/r1-5f2c1e9a, or a copy of
it from S3. Without definitions it asks for them. Only onnxruntime-genai is needed.
"""

import sys
from pathlib import Path
from typing import Any

from chat import load


def answer(bundle: Any, definition: str) -> str:
    """Each adapter is asked as it was trained."""
    asked = f"Definition: {definition}\n"
    word: str = bundle.generate("wordclass", f"{asked}Word class:", max_new_tokens=4).strip()
    if word != "noun":
        return word
    kind: str = bundle.generate("wordnet", f"{asked}Category:", max_new_tokens=4).strip()
    return f"{word}, {kind}"


def main() -> None:
    if len(sys.argv) < 2 or not (Path(sys.argv[1]) / "index.json").is_file():
        raise SystemExit(__doc__)
    bundle = load(Path(sys.argv[1]))
    typed = iter(lambda: input("definition: ").strip(), "")
    for definition in sys.argv[2:] or typed:
        print(f"{definition}: {answer(bundle, definition)}")


if __name__ == "__main__":
    main()
