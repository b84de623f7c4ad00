"""What is wrong with the space of a search, which no rule of the schema can tell.

As the operator finds it, and beyond: each rule of the API is asked of the values that trials may
have.
"""

import itertools
from collections.abc import Iterator

from pydantic import ValidationError

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.kinds import FINE_TUNE_JOB
from luthier_api.searchspace import applied, corners, problem, written
from luthier_cli.findings import Finding, locate
from luthier_cli.offline import kind_of
from luthier_cli.yaml import Document

# A rule takes a fraction of a millisecond, and there are a hundred.
_LOOKED_AT = 32


def check(document: Document, file: str) -> list[Finding]:
    """The first thing that is wrong with the search of a resource that is valid otherwise."""
    if kind_of(document.value) is not FINE_TUNE_JOB:
        return []
    try:
        spec = FineTuneJobSpec.read(document.value.get("spec"))
    except ValidationError:  # a cluster of another version takes it
        return []
    found = next(_problems(spec), None)
    if found is None:
        return []
    field, message = found
    what, _, remedy = message.rpartition(": ")
    place = locate(document, field.partition("[")[0])
    return [Finding(file, document.line(place), field, what, remedy)]


def _problems(spec: FineTuneJobSpec) -> Iterator[tuple[str, str]]:
    if found := problem(spec):
        yield f"spec.{found[0]}", found[1]
        return
    if spec.search is None:
        return
    from luthier_cli.rules import broken_rules

    for settings in itertools.islice(corners(spec.search), _LOOKED_AT):
        told = ", ".join(f"{path} {written(value)}" for path, value in settings.items())
        for path, message in broken_rules(applied(spec, settings)):
            field = ".".join(map(str, path))
            yield "spec.search.space", f"with {told}: {field}: {message}"
