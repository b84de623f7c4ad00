"""Which resources of a file `luthier run` is about. Pure."""

from collections.abc import Sequence

from luthier_api.kinds import KINDS, Kind, kind_called
from luthier_cli.errors import CliError
from luthier_cli.findings import identity
from luthier_cli.offline import is_ours
from luthier_cli.yaml import Document


def choose(
    documents: Sequence[Document], file: str, *, name: str | None, kind: str | None, every: bool
) -> list[Document]:
    """The one that --kind and --name leave, or with `every` all of them in the order of their
    references. Raises CliError."""
    wanted = _kind(kind)
    ours = [document for document in documents if is_ours(document.value)]
    if not ours:
        raise CliError(f"no Luthier resource in {file}", f"it runs {', '.join(KINDS)}")
    found = [
        document
        for document in ours
        if name in (None, _name(document))
        and (wanted is None or document.value.get("kind") == wanted.name)
    ]
    if not found:
        what = f"{wanted.name if wanted else 'resource'}{f' {name}' if name else ''}"
        raise CliError(f"no {what} in {file}", f"there are: {_listed(ours)}")
    if every:
        return sorted(found, key=_place)
    if len(found) > 1:
        raise CliError(
            f"{file} has {len(found)} resources: {_listed(found)}",
            "choose one by --kind and --name, or run them --all, each after what it refers to",
        )
    return found


def _kind(name: str | None) -> Kind | None:
    if name is None:
        return None
    found = kind_called(name)
    if found is None:
        raise CliError(f"--kind {name}: no such kind", f"there are: {', '.join(KINDS)}")
    return found


def _name(document: Document) -> str:
    return identity(document.value).partition("/")[2]


def _place(document: Document) -> int:
    """Only the kinds that come later refer to others."""
    kinds = list(KINDS)
    kind = document.value.get("kind")
    return kinds.index(kind) if kind in kinds else len(kinds)


def _listed(documents: Sequence[Document]) -> str:
    return ", ".join(identity(document.value) for document in documents)
