"""What makes an AdapterBundle one, for the loop that moves every kind on."""

from typing import Any

from luthier_api.adapterbundle import AdapterBundleSpec, AdapterBundleStatus
from luthier_operator.adapterbundle.decide import decide
from luthier_operator.adapterbundle.members import ADAPTERS_COMPATIBLE, LEFT_OUT
from luthier_operator.adapterbundle.observe import Members, observe
from luthier_operator.adapterbundle.status import compute
from luthier_operator.resources import ADAPTER_BUNDLES
from luthier_operator.run.events import ConditionEvent
from luthier_operator.run.reconcile import Kind


def _essence(status: AdapterBundleStatus) -> dict[str, Any]:
    return status.model_dump(exclude={"stage", "progress", "usage"})


ADAPTER_BUNDLE: Kind[AdapterBundleSpec, AdapterBundleStatus, Members] = Kind(
    resource=ADAPTER_BUNDLES,
    observe=observe,
    decide=decide,
    compute=compute,
    essence=_essence,
    events=(ConditionEvent(ADAPTERS_COMPATIBLE, status="False", reason=LEFT_OUT, warning=True),),
)
