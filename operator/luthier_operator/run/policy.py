"""What luthier.yaml has to say about a run, as a reason to hold it back. Pure."""

from luthier_api import policy
from luthier_api.platform import Platform
from luthier_api.runsettings import RunSettings
from luthier_api.sources import Reads
from luthier_operator.errors import Refusal


def check(spec: RunSettings, reads: Reads, namespace: str, platform: Platform) -> Refusal | None:
    """The first thing that luthier.yaml doesn't allow, with the remedy."""
    denied = next(policy.denials(spec, reads, namespace, platform), None)
    return Refusal(denied.reason, denied.message, terminal=True) if denied else None
