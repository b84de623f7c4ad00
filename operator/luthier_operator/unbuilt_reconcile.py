"""Writes the status of kinds that aren't reconciled yet."""

from collections.abc import Callable
from datetime import UTC, datetime

from luthier_operator.cluster import Cluster
from luthier_operator.errors import ApiError
from luthier_operator.patches import merge_diff
from luthier_operator.resources import Key, Obj, Resource
from luthier_operator.store import Store


class UnbuiltReconciler:
    """Keeps one kind's status saying that nothing will happen."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        resource: Resource,
        compute: Callable[[Obj, datetime], Obj],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._resource = resource
        self._compute = compute

    async def __call__(self, key: Key) -> float | None:
        """Write the status if it doesn't say so already."""
        obj = self._store.get(self._resource, key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return None
        changes = merge_diff(obj.get("status") or {}, self._compute(obj, datetime.now(UTC)))
        if not changes:
            return None
        try:
            answer = await self._cluster.patch_status(self._resource, obj, changes)
        except ApiError as error:
            if error.status == 404:
                self._store.remove(self._resource, obj)
                return None
            if error.status == 409 and (live := await self._cluster.get(self._resource, key)):
                self._store.put(self._resource, live)
                return 0.0
            raise
        self._store.put(self._resource, answer)
        return None
