"""What a bundle is made of, and with: the same for every stage."""

from dataclasses import dataclass
from pathlib import Path

from luthier_api.adapterbundle import Bundling
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.contents import Contents
from luthier_trainer.bundle.membership import Membership
from luthier_trainer.bundle.previous import Previous
from luthier_trainer.bundle.state import State
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.packages.genai.base import Base
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.storage.objectstore import ObjectStore


@dataclass(frozen=True)
class Job:
    """`output`: where the result goes. `base`: of the adapters, of which `found` tells where it is
    from, and whose unquantised weights are in `source`; `key`: of its part. `previous`: the package
    before. `contents`: the new one's. `scratch`: a folder."""

    state: State
    attempts: Attempts
    output: ObjectStore
    found: BaseModel
    source: Path
    base: Base
    key: str
    versions: dict[str, str]
    previous: Previous | None
    contents: Contents
    scratch: Path

    @property
    def order(self) -> BundleOrder:
        return self.state.order

    @property
    def bundling(self) -> Bundling:
        return self.state.order.bundling

    @property
    def membership(self) -> Membership:
        return self.state.membership

    @property
    def reporter(self) -> Reporter:
        return self.state.pod.reporter
