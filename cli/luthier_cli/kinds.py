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
    module: str

    @property
    def resource(self) -> str:
        """Its full resource name, e.g. finetunejobs.luthier.dev."""
        return f"{self.plural}.{GROUP}"

    def collection(self, namespace: str) -> str:
        """The API path of the resources of a namespace."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{self.plural}"

    def spec_model(self) -> type[Model]:
        """The pydantic model of `spec`."""
        model: type[Model] = getattr(
            import_module(f"luthier_api.{self.module}"), f"{self.name}Spec"
        )
        return model


FINE_TUNE_JOB = Kind("FineTuneJob", "finetunejobs", "finetunejob")
KINDS = {
    kind.name: kind
    for kind in (
        FINE_TUNE_JOB,
        Kind("OptimizeJob", "optimizejobs", "optimizejob"),
        Kind("AdapterBundle", "adapterbundles", "adapterbundle"),
    )
}
