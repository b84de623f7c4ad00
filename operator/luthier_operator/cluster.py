"""The only Kubernetes I/O: plain dicts over the official client's asyncio half."""

import json
import random
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTResponse
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from luthier_operator import metrics
from luthier_operator.errors import ApiError, ApiUnreachableError, WatchSilentError
from luthier_operator.resources import (
    EVENTS,
    FIELD_MANAGER,
    OPTIONAL,
    TOKEN_REVIEWS,
    WRITTEN,
    Key,
    Obj,
    Resource,
    key_of,
)

REQUEST_SECONDS = 30.0
PAGE = 200
# An object may have a megabyte and a half: what is read at once is bounded by its bytes.
PAGE_BYTES = 16 * 2**20
# The API server ends a watch after so long: connections spread over its replicas anew.
WATCH_SECONDS = (300, 600)
# It sends a bookmark about once a minute: a watch that tells nothing for so long is dead.
SILENCE_SECONDS = 150.0
CONNECT_SECONDS = 10.0
# Of what is asked for one run: every worker may be asking at once.
RUN_PAGE_BYTES = 2**20
# Of the Events of a namespace so many pages are read, and so much of them is kept.
EVENT_PAGES = 25
MOST_NOTES = 2_000
NOTE_LENGTH = 1024
MERGE_PATCH = "application/merge-patch+json"


async def load_configuration() -> Configuration:
    """The pod's own service account; outside a pod what KUBECONFIG names."""
    configuration = Configuration()
    try:
        load_incluster_config(configuration)
    except ConfigException:
        await load_kube_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = 64
    # Once: aiohttp would look into the environment and for a .netrc, in a thread, for each request.
    configuration.proxy = _proxy_of(configuration.host)
    configuration.client_session_kwargs = {
        "trust_env": False,
        "cookie_jar": aiohttp.DummyCookieJar(),
    }
    return configuration


def _proxy_of(server: str) -> str | None:
    """What the environment says of the way to a server (https_proxy, no_proxy)."""
    url = urlsplit(server)
    if proxy_bypass(url.netloc):
        return None
    return getproxies().get(url.scheme)


class TooLargeError(Exception):
    """An answer has more bytes than are read at once."""


class Cluster:
    """Requests to one API server. Raises ApiError for its refusals, ApiUnreachableError without
    an answer."""

    def __init__(self, configuration: Configuration) -> None:
        self._client = ApiClient(configuration)
        # Each holds a connection for minutes: they must not take those of the requests.
        self._watches = ApiClient(configuration)
        self._watches.rest_client.maxsize = 0  # as many as there are

    async def close(self) -> None:
        """Close the connections."""
        await self._watches.close()
        await self._client.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        most_bytes: int | None = None,
    ) -> Obj:
        try:
            response = await _send(
                self._client,
                method,
                path,
                query or {},
                REQUEST_SECONDS,
                body=body,
                content_type=content_type,
            )
            text = await _read(response.response, most_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachableError(f"{method} {path}: {error!r}") from error
        if response.status >= 400:
            raise _refused(response.status, str(response.reason), text)
        return dict(_parsed(text))

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
        """All objects, and the version of the list. For short lists: `pages` holds less."""
        items: list[Obj] = []
        last = 0
        async for page, version in self.pages(resource, namespace, labels=labels, fields=fields):
            items += page
            last = version
        return items, last

    async def pages(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        most_bytes: int | None = None,
    ) -> AsyncIterator[tuple[list[Obj], int]]:
        """The objects page by page, and the version of the list, the same with each.

        A page is bounded by its bytes: with too many it is asked for again, half as long.
        """
        most_bytes = most_bytes or PAGE_BYTES
        query = {"labelSelector": labels, "fieldSelector": fields, "continue": ""}
        limit = PAGE
        while True:
            asked = {name: value for name, value in query.items() if value}
            try:
                page = await self._request(
                    "GET",
                    resource.path(namespace),
                    query=asked | {"limit": str(limit)},
                    most_bytes=most_bytes if limit > 1 else None,
                )
            except TooLargeError:
                limit = max(1, limit // 2)
                continue
            version = page["metadata"].get("resourceVersion", "")
            yield page.get("items") or [], int(version) if version.isdigit() else 0
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    @asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, version: int, *, labels: str = ""
    ) -> AsyncIterator[AsyncIterator[Obj]]:
        """An open watch from a version on: its events, until the API server ends it.

        Bookmarks are among them. ApiError 410 where the version is too old, WatchSilentError where
        nothing comes any more.
        """
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - a pause, not a secret
        query = {
            "watch": "true",
            "resourceVersion": str(version),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            "labelSelector": labels,
        }
        path = resource.path(namespace)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        try:
            asked = {name: value for name, value in query.items() if value}
            answer = await _send(self._watches, "GET", path, asked, timeout)
            if answer.status >= 400:
                raise _refused(answer.status, str(answer.reason), await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachableError(f"watch {path}: {error!r}") from error
        try:
            yield _events(answer.response, path)
        finally:
            answer.response.close()

    async def discover(self, resource: Resource) -> Resource | None:
        """An optional kind in the version to read it in, or None where the cluster lacks it.

        Of the versions that the group serves it is the best that we know, else the group's own
        preferred one: what is read of the kind has been the same in all of them. One that is
        written is written in a version that we know.
        """
        try:
            group = await self._request("GET", f"/apis/{resource.group}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        served = [it["version"] for it in group.get("versions") or []]
        known = [version for version in OPTIONAL[resource] if version in served]
        preferred = (group.get("preferredVersion") or {}).get("version")
        if preferred in known:
            known.sort(key=lambda version: version != preferred)
        elif preferred and resource not in WRITTEN:
            known.append(preferred)
        for version in known:
            if await self._serves(resource, version):
                return replace(resource, version=version)
        return None

    async def _serves(self, resource: Resource, version: str) -> bool:
        try:
            kinds = await self._request("GET", f"/apis/{resource.group}/{version}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(it["name"] == resource.plural for it in kinds.get("resources") or [])

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object; ApiError 409 where the name is taken.

        Of an optional kind an older release may be there, whose schema drops what it doesn't know
        without a word: 400 then.
        """
        namespace, _ = key_of(obj)
        query = {"fieldManager": FIELD_MANAGER}
        if resource in WRITTEN:
            query["fieldValidation"] = "Strict"
        return await self._write(
            "create", resource, "POST", resource.path(namespace), query=query, body=obj
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

    async def replace(self, resource: Resource, obj: Obj) -> Obj:
        """Write the whole object over exactly the version that it names, else ApiError 409."""
        return await self._write(
            "update",
            resource,
            "PUT",
            resource.path(*key_of(obj)),
            query={"fieldManager": FIELD_MANAGER},
            body=obj,
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

    async def warnings(self, namespace: str, reasons: Container[str]) -> dict[str, tuple[str, ...]]:
        """The newest Warning of each of these reasons about each object of a namespace, by the
        object's uid, newest first.

        Whoever may write Events may put a megabyte into each: page by page only words are kept.
        """
        newest: dict[tuple[str, str], tuple[str, str]] = {}
        read = 0
        pages = self.pages(EVENTS, namespace, fields="type=Warning", most_bytes=RUN_PAGE_BYTES)
        async for page, _ in pages:
            for event in page:
                about = ((event.get("regarding") or {}).get("uid") or "", event.get("reason") or "")
                if about[1] in reasons and (about in newest or len(newest) < MOST_NOTES):
                    told = (_last_seen(event), str(event.get("note") or "")[:NOTE_LENGTH])
                    newest[about] = max(told, newest.get(about, told))
            read += 1
            if read == EVENT_PAGES:
                break
        found: dict[str, tuple[str, ...]] = {}
        for (uid, reason), (_, note) in sorted(newest.items(), key=lambda it: it[1], reverse=True):
            found[uid] = (*found.get(uid, ()), f"{reason}: {note}")
        return found


async def _send(
    client: ApiClient,
    method: str,
    path: str,
    query: dict[str, str],
    within: float | aiohttp.ClientTimeout,
    *,
    body: Any = None,
    content_type: str = "application/json",
) -> RESTResponse:
    """Below the client's own serialisation, which walks through each body that is plain already."""
    headers = {"Accept": "application/json", "Content-Type": content_type}
    if token := await client.configuration.get_api_key_with_prefix("BearerToken"):
        headers["Authorization"] = token
    url = client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
    return await client.rest_client.request(
        method, url, headers=headers, body=body, _request_timeout=within
    )


def _parsed(text: bytes) -> Obj:
    try:
        return dict(json.loads(text)) if text else {}
    except ValueError:
        return {"message": text[:500].decode(errors="replace")}


def _refused(status: int, reason: str, text: bytes) -> ApiError:
    answer = _parsed(text)
    return ApiError(status, answer.get("reason") or reason, answer.get("message") or reason)


async def _events(response: aiohttp.ClientResponse, path: str) -> AsyncIterator[Obj]:
    """The events of a watch: a line of JSON each."""
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(
                        status.get("code") or 500,
                        status.get("reason") or "WatchError",
                        status.get("message") or "the watch ended with an error",
                    )
                yield event
            if len(rest) > PAGE_BYTES:
                raise ApiUnreachableError(f"watch {path}: an event of more than {PAGE_BYTES} bytes")
    except aiohttp.SocketTimeoutError as error:
        raise WatchSilentError(f"watch {path}: nothing for {SILENCE_SECONDS:g} s") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ApiUnreachableError(f"watch {path}: {error!r}") from error
    except ValueError as error:
        raise ApiUnreachableError(f"watch {path}: no JSON: {error}") from error


async def _read(response: aiohttp.ClientResponse, most: int | None) -> bytes:
    if most is None:
        return await response.read()
    text = bytearray()
    async for chunk in response.content.iter_chunked(2**16):
        text += chunk
        if len(text) > most:
            # The rest isn't wanted: the connection goes with it.
            response.close()
            raise TooLargeError
    response.release()
    return bytes(text)


def _last_seen(event: Obj) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("deprecatedLastTimestamp")
        or event.get("eventTime")
        or ""
    )
