"""The one list of the kinds of the group luthier.dev; operator, trainer and command line go by it.

Models are imported when they are asked for: a command, or a pod, needs one kind's.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from luthier_api import GROUP, VERSION
from luthier_api.meta import Model


@dataclass(frozen=True)
class Kind:
    """A kind: its names, and its models. Those of spec and status lie in the module of its name."""

    name: str
    plural: str
    short: str
    order: str  # in runspec.py: what its trainer is told
    result: str  # in result.py: what its trainer hands back

    @property
    def resource(self) -> str:
        """Its full resource name, e.g. finetunejobs.luthier.dev."""
        return f"{self.plural}.{GROUP}"

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called by, in lower case, as kubectl calls it."""
        return (self.name.lower(), self.plural, self.short, self.resource)

    def collection(self, namespace: str | None) -> str:
        """The API path of the resources of a namespace, or (None) of all."""
        within = f"namespaces/{namespace}/" if namespace else ""
        return f"/apis/{GROUP}/{VERSION}/{within}{self.plural}"

    def spec_model(self) -> type[Model]:
        """The pydantic model of `spec`."""
        return _model(self.name.lower(), f"{self.name}Spec")

    def status_model(self) -> type[Model]:
        """The pydantic model of `status`."""
        return _model(self.name.lower(), f"{self.name}Status")

    def order_model(self) -> type[Model]:
        """The pydantic model of its runs' orders."""
        return _model("runspec", self.order)

    def result_model(self) -> type[Model]:
        """The pydantic model of its runs' results."""
        return _model("result", self.result)


def _model(module: str, name: str) -> type[Model]:
    model: type[Model] = getattr(import_module(f"luthier_api.{module}"), name)
    return model


FINE_TUNE_JOB = Kind("FineTuneJob", "finetunejobs", "ftj", "RunSpec", "RunResult")
OPTIMIZE_JOB = Kind("OptimizeJob", "optimizejobs", "opj", "OptimizeOrder", "OptimizeResult")
ADAPTER_BUNDLE = Kind("AdapterBundle", "adapterbundles", "ab", "BundleOrder", "BundleResult")
# In the order in which they are run: later ones may refer to earlier ones.
KINDS = {kind.name: kind for kind in (FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE)}

# The name of one of them, in a model. mypy reads choices only where they are written out.
if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[*KINDS]


def kind_called(name: str) -> Kind | None:
    """The kind of that name, plural or short name, in whatever case."""
    return next((kind for kind in KINDS.values() if name.lower() in kind.names), None)
