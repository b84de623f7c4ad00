"""From a configuration, or a command line, to manifests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier_cli.convert.draft import Draft
from luthier_cli.convert.guess import guess
from luthier_cli.convert.manifest import commented
from luthier_cli.convert.reading import read_mapping
from luthier_cli.convert.report import to_json
from luthier_cli.convert.settle import settle
from luthier_cli.convert.source import Beside, Source
from luthier_cli.convert.sources import SOURCES
from luthier_cli.convert.told import Told


@dataclass(frozen=True)
class Converted:
    """Manifests, and what became of each field."""

    source: Source
    origin: str
    drafts: Sequence[Draft]

    @property
    def told(self) -> list[Told]:
        """Of all manifests."""
        return [it for draft in self.drafts for it in draft.told]

    @property
    def yaml(self) -> str:
        """The manifests with their comments."""
        return "---\n".join(commented(draft, self.origin) for draft in self.drafts)

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready dict."""
        return {
            "from": self.source.name,
            "manifests": [draft.document() for draft in self.drafts],
            "yaml": self.yaml,
            "fields": to_json(self.told),
        }


@dataclass(frozen=True)
class Naming:
    """What resources are called, where the user says."""

    name: str | None = None
    namespace: str | None = None


def convert_text(
    text: str, file: str, naming: Naming, beside: Beside, source: str | None = None
) -> Converted:
    """Convert a file's text. `source`: the tool, if it is said. Raises CliError."""
    given = read_mapping(text, file)
    tool = SOURCES[source] if source else guess(given, file)
    return finished(tool, f"{tool.title} ({file})", tool.convert(given, beside), naming)


def finished(tool: Source, origin: str, drafts: list[Draft], naming: Naming) -> Converted:
    """Drafts with their names, valid. Raises CliError."""
    renamed = [replace(draft, namespace=naming.namespace or draft.namespace) for draft in drafts]
    if naming.name:
        old = drafts[0].name
        for draft in renamed:
            draft.name = naming.name + draft.name.removeprefix(old)
            _follow(draft, old, naming.name)
    return Converted(tool, origin, [settle(draft) for draft in renamed])


def _follow(draft: Draft, old: str, new: str) -> None:
    """References to the first manifest go by its new name."""
    for path in ("source.fineTuneJobRef", "model.adapter.fineTuneJobRef"):
        reference = draft.get(path)
        if isinstance(reference, dict) and reference.get("name") == old:
            reference["name"] = new
    for adapter in draft.get("adapters") or []:
        reference = adapter.get("fineTuneJobRef") or {}
        if reference.get("name") == old:
            reference["name"] = new
