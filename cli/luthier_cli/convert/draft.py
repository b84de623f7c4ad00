"""A manifest that grows: its spec, and what became of the fields that it was made of."""

from dataclasses import dataclass, field
from typing import Any

from luthier_api import API_VERSION
from luthier_api.kinds import Kind
from luthier_cli.convert.told import Fate, Told
from luthier_cli.yaml import Path, at


@dataclass
class Draft:
    """A manifest. `told` is about fields of the configuration, in their order."""

    kind: Kind
    name: str
    namespace: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def put(
        self,
        target: str,
        value: Any,
        source: str = "",
        given: Any = None,
        *,
        fate: Fate = Fate.SAME,
        why: str = "",
    ) -> None:
        """Set a field of the spec, and say what it was made of."""
        *above, last = target.split(".")
        within = self.spec
        for part in above:
            within = within.setdefault(part, {})
        within[last] = value
        self.tell(source, given, fate, f"spec.{target}", why)

    def get(self, target: str) -> Any:
        """A field of the spec; None where it isn't set."""
        return at(self.spec, tuple(target.split(".")))

    def tell(self, source: str, given: Any, fate: Fate, target: str = "", why: str = "") -> None:
        """Say what became of a field."""
        self.told.append(Told(source, given, fate, target, why, self.kind.name))

    def lost(self, source: str, given: Any, why: str) -> None:
        """A field that can't be said here."""
        self.tell(source, given, Fate.LOST, why=why)

    def moot(self, source: str, given: Any, why: str) -> None:
        """A field without which nothing is lost."""
        self.tell(source, given, Fate.MOOT, why=why)

    def drop(self, path: Path, why: str, fate: Fate = Fate.LOST) -> bool:
        """Take a field of the spec out, since it can't be so. Whether there was one."""
        if not path or at(self.spec, path[:-1]) is None or at(self.spec, path) is None:
            return False
        within = at(self.spec, path[:-1])
        del within[path[-1]]
        self._prune(path[:-1])
        name = "spec." + ".".join(str(part) for part in path if isinstance(part, str))
        about = [it.target == name or it.target.startswith(f"{name}.") for it in self.told]
        self.told = [
            Told(it.field, it.value, fate, "", why, it.kind) if dropped else it
            for it, dropped in zip(self.told, about, strict=True)
            if not (dropped and it.value is None)
        ]
        return True

    def _prune(self, path: Path) -> None:
        """Remove what is empty now, from within."""
        while path and at(self.spec, path) in ({}, []):
            del at(self.spec, path[:-1])[path[-1]]
            path = path[:-1]

    def document(self) -> dict[str, Any]:
        """The manifest."""
        metadata = {"name": self.name}
        if self.namespace:
            metadata["namespace"] = self.namespace
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind.name,
            "metadata": metadata,
            "spec": self.spec,
        }
