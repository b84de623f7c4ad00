"""The only Kubernetes I/O: plain dicts over the official client's asyncio half."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from luthier_operator import metrics
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.resources import (
    EVENTS,
    FIELD_MANAGER,
    TOKEN_REVIEWS,
    WORKLOADS,
    Key,
    Obj,
    Resource,
    key_of,
)

REQUEST_SECONDS = 30.0
PAGE = 500
MERGE_PATCH = "application/merge-patch+json"


async def load_configuration() -> Configuration:
    """The pod's own service account; outside a pod what KUBECONFIG names."""
    configuration = Configuration()
    try:
        load_incluster_config(configuration)
    except ConfigException:
        await load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = 64
    return configuration


class Cluster:
    """Requests to one API server. Raises ApiError for its refusals, ApiUnreachableError without
    an answer."""

    def __init__(self, configuration: Configuration) -> None:
        self._client = ApiClient(configuration)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Obj:
        try:
            prepared = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*prepared, _request_timeout=REQUEST_SECONDS)
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachableError(f"{method} {path}: {error!r}") from error
        try:
            answer = json.loads(text) if text else {}
        except ValueError:
            answer = {"message": text[:500].decode(errors="replace")}
        if response.status >= 400:
            raise ApiError(
                response.status,
                answer.get("reason") or str(response.reason),
                answer.get("message") or str(response.reason),
            )
        return dict(answer)

    async def _write(
        self, verb: str, resource: Resource, method: str, path: str, **request: Any
    ) -> Obj:
        metrics.API_WRITES.labels(verb=verb, resource=resource.plural).inc()
        return await self._request(method, path, **request)

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        """The object as it is now, or None."""
        try:
            return await self._request("GET", resource.path(*key))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Obj], int]:
        """All objects, read in pages, and the version of the list."""
        items: list[Obj] = []
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        version = ""
        async for page in self._pages(resource.path(namespace), query):
            items.extend(page.get("items") or [])
            # Pages of one list share a version: the newest object may be newer than the first's.
            version = page["metadata"].get("resourceVersion", "")
        return items, int(version) if version.isdigit() else 0

    async def _pages(self, path: str, query: dict[str, str]) -> AsyncIterator[Obj]:
        token = ""
        while True:
            page = await self._request(
                "GET", path, query=query | ({"continue": token} if token else {})
            )
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object; ApiError 409 where the name is taken."""
        namespace, _ = key_of(obj)
        return await self._write(
            "create",
            resource,
            "POST",
            resource.path(namespace),
            query={"fieldManager": FIELD_MANAGER},
            body=obj,
        )

    async def patch(self, resource: Resource, obj: Obj, changes: Obj) -> Obj:
        """Merge-patch fields of the object with that uid; ApiError 409 for a namesake."""
        return await self._write(
            "patch",
            resource,
            "PATCH",
            resource.path(*key_of(obj)),
            query={"fieldManager": FIELD_MANAGER},
            body={"metadata": {"uid": obj["metadata"]["uid"]}, **changes},
            content_type=MERGE_PATCH,
        )

    async def patch_status(self, resource: Resource, obj: Obj, changes: Obj) -> Obj:
        """Merge-patch the status of exactly this version of the object, else ApiError 409.

        The version stands in for the uid, which custom resources' status ignores.
        """
        version = obj["metadata"]["resourceVersion"]
        return await self._write(
            "patch",
            resource,
            "PATCH",
            resource.path(*key_of(obj), "status"),
            query={"fieldManager": FIELD_MANAGER},
            body={"metadata": {"resourceVersion": version}, "status": changes},
            content_type=MERGE_PATCH,
        )

    async def delete(self, resource: Resource, obj: Obj) -> None:
        """Delete the object with that uid, and its pods with their grace; gone is fine.

        In the foreground: the object stays until its pods are gone.
        """
        try:
            await self._write(
                "delete",
                resource,
                "DELETE",
                resource.path(*key_of(obj)),
                body={
                    "propagationPolicy": "Foreground",
                    "preconditions": {"uid": obj["metadata"]["uid"]},
                },
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def review_token(self, token: str, audience: str) -> Obj:
        """The API server's word on a token: the TokenReview's status."""
        review = await self._request(
            "POST",
            TOKEN_REVIEWS.path(),
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token, "audiences": [audience]},
            },
        )
        return dict(review.get("status") or {})

    async def warnings(self, namespace: str, uid: str) -> list[str]:
        """Messages of the Warning events about one object, newest first."""
        items, _ = await self.list_all(
            EVENTS, namespace, fields=f"regarding.uid={uid},type=Warning"
        )
        items.sort(key=_last_seen, reverse=True)
        return [f"{item.get('reason', '')}: {item.get('note', '')}" for item in items]

    async def workload(self, namespace: str, job_uid: str) -> Obj | None:
        """Kueue's Workload of a Job; None without one, or without Kueue."""
        try:
            items, _ = await self.list_all(
                WORKLOADS, namespace, labels=f"kueue.x-k8s.io/job-uid={job_uid}"
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return items[0] if items else None


def _last_seen(event: Obj) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("deprecatedLastTimestamp")
        or event.get("eventTime")
        or ""
    )
