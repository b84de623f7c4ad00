"""What `luthier compare` compares: two revisions by status and artifacts."""

from dataclasses import replace

from luthier_cli import artifacts
from luthier_cli.comparison import Comparison, Side, side_of
from luthier_cli.errors import CliError
from luthier_cli.revisions import RevisionOf, find, revisions_of, with_result
from luthier_cli.state import Resource


def compared(
    resource: Resource, first: str, second: str, endpoint: str | None
) -> tuple[Comparison, str]:
    """The two, and why their artifacts couldn't be read. Raises CliError."""
    revisions = revisions_of(resource)
    pair = [with_result(find(revisions, name)) for name in (first, second)]
    sides, notes = zip(*(_side(it, endpoint) for it in pair), strict=True)
    gain = pair[1].changes if pair[1].compared_with == pair[0].name else {}
    return Comparison(sides[0], sides[1], gain), next((it for it in notes if it), "")


def _side(revision: RevisionOf, endpoint: str | None) -> tuple[Side, str]:
    known = Side(revision.name, revision.dataset_digest, revision.metrics)
    uri = revision.uri or ""
    try:
        manifest = artifacts.read(uri, artifacts.MANIFEST, endpoint)
        try:
            journal = artifacts.read(uri, artifacts.JOURNAL, endpoint)
        except CliError:
            journal = None
        side = side_of(revision.name, manifest, journal)
    except CliError as error:
        return known, f"{error.message} ({error.remedy})"
    except ValueError as error:
        return known, f"the manifest in {uri} can't be read: {error}"
    return (
        replace(
            side,
            dataset_digest=known.dataset_digest or side.dataset_digest,
            metrics=known.metrics or side.metrics,
        ),
        "",
    )
