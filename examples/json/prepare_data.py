"""From a line about a person to a JSON object: {origin, occupations, born, died}.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive), its names
of people whose definitions end in the years of a life.

The objects are silver: made by rules, nobody has read them all.

- occupations: what WordNet says the person is an instance of, if the definition says it too
  (in the definition's order). What the definition says beyond WordNet's links is not in it.
- origin: the first word of the definition, where it is a country's or people's name there.
- born, died: the years in the last brackets, died null for "(born in 1930)".
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, Synset, options, read_nouns, write

_LIFE = re.compile(r"\s*\((?:(\d{4})-(\d{4})|born in (\d{4}))\)$")
_ORIGIN = re.compile(r"(United States|[A-Z][a-z]+) (?=[a-z])")


def read(person: Synset, nouns: dict[str, Synset]) -> Row | None:
    """The row of a person, or None where the rules find something missing."""
    life, origin = _LIFE.search(person.definition), _ORIGIN.match(person.definition)
    occupations = _occupations(person, nouns)
    if not life or not origin or not occupations:
        return None
    born, died, only_born = life.groups()
    document = {
        "origin": origin[1],
        "occupations": occupations,
        "born": int(born or only_born),
        "died": int(died) if died else None,
    }
    return {"text": person.definition, "json": json.dumps(document, ensure_ascii=False)}


def _occupations(person: Synset, nouns: dict[str, Synset]) -> list[str]:
    found: dict[str, int] = {}
    for identity in person.instance_of:
        for word in nouns[identity].words:
            match = re.search(rf"\b{re.escape(word)}\b", person.definition)
            if match:
                found[word] = match.start()
    # "tennis player" and not its "player" too.
    whole = [word for word in found if not any(word != o and word in o for o in found)]
    return sorted(whole, key=found.__getitem__)


def rows() -> list[Row]:
    nouns = read_nouns()
    people = (synset for synset in nouns.values() if synset.label == "person")
    found = {row["text"]: row for person in people if (row := read(person, nouns))}
    return list(found.values())


if __name__ == "__main__":
    write(rows(), options(__doc__, 1500, 150))
