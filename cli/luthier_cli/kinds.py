"""The kinds of the group luthier.dev."""

from dataclasses import dataclass
from importlib import import_module

from luthier_api import GROUP, VERSION
from luthier_api.meta import Model


@dataclass(frozen=True)
class Kind:
    """A kind: its names, and the model of its spec."""

    name: str
    plural: str
    short: str
    module: str

    @property
    def resource(self) -> str:
        """Its full resource name, e.g. finetunejobs.luthier.dev."""
        return f"{self.plural}.{GROUP}"

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called by, in lower case, as kubectl calls it."""
        return (self.name.lower(), self.plural, self.short, self.resource)

    def collection(self, namespace: str) -> str:
        """The API path of the resources of a namespace."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{self.plural}"

    def spec_model(self) -> type[Model]:
        """The pydantic model of `spec`."""
        model: type[Model] = getattr(
            import_module(f"luthier_api.{self.module}"), f"{self.name}Spec"
        )
        return model


FINE_TUNE_JOB = Kind("FineTuneJob", "finetunejobs", "ftj", "finetunejob")
OPTIMIZE_JOB = Kind("OptimizeJob", "optimizejobs", "opj", "optimizejob")
ADAPTER_BUNDLE = Kind("AdapterBundle", "adapterbundles", "ab", "adapterbundle")
# In the order in which they are run: later ones may refer to earlier ones.
KINDS = {kind.name: kind for kind in (FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE)}


def kind_called(name: str) -> Kind | None:
    """The kind of that name, plural or short name, in whatever case."""
    return next((kind for kind in KINDS.values() if name.lower() in kind.names), None)
