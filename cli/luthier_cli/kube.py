"""The only Kubernetes I/O of the command line: the official client, plain dicts.

Import it inside a command: the client takes most of a second to load.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)

from luthier_api import GROUP
from luthier_api.kinds import Kind
from luthier_cli.errors import CliError
from luthier_cli.kubeconfig import configured
from luthier_cli.paths import path_of
from luthier_cli.target import Target

Object = dict[str, Any]

_TIMEOUT = (5.0, 30.0)  # seconds: connect, read
_WATCH_SECONDS = 60
_PAGE = 500
_PATIENCE = 120.0
_RECONNECT_SECONDS = 1.0
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_INSTALL = "install Luthier's chart there (its CRDs come with it), or name another --context"


class ApiError(Exception):
    """An answer of the API server other than 2xx, with its Status object."""

    def __init__(self, code: int, status: Object) -> None:
        super().__init__(status.get("message") or f"HTTP {code}")
        self.code = code
        self.status = status
        self.details: Object = status.get("details") or {}


class UnreachableError(Exception):
    """The API server can't be reached, or the connection broke."""


class GoneError(Exception):
    """The place in the history that a watch asked for is no longer there: list again."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, as one context of a kubeconfig reaches it."""

    api: ApiClient
    context: str
    server: str
    namespace: str

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request with a JSON answer. Raises ApiError or UnreachableError."""
        response = self._open(method, path, query or {}, body, content_type, _TIMEOUT)
        try:
            answer: Object = json.loads(response.read())
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(_reason(error)) from None
        return answer

    def lines(self, path: str, query: dict[str, Any], read_timeout: float) -> Iterator[bytes]:
        """The lines of a streamed answer, as they come. Raises ApiError or UnreachableError."""
        response = self._open("GET", path, query, None, "", (_TIMEOUT[0], read_timeout))
        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
            if rest:
                yield rest
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(_reason(error)) from None
        finally:
            response.close()

    def _open(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: Object | None,
        content_type: str,
        timeout: tuple[float, float],
    ) -> urllib3.HTTPResponse:
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = content_type
        arguments = self.api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self.api.call_api(*arguments, _request_timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(_reason(error)) from None
        response: urllib3.HTTPResponse = answer.response
        if not 200 <= response.status < 300:
            raise ApiError(response.status, _status_object(response))
        return response

    def explain(self, error: Exception, what: str, namespace: str | None = None) -> CliError:
        """An error of ours for a person: what, where, and the remedy."""
        where = f"{self.server} (context {self.context})"
        if isinstance(error, UnreachableError):
            return CliError(
                f"can't reach the cluster at {where}: {error}",
                "check that it runs and that --context and --kubeconfig name it",
            )
        if not isinstance(error, ApiError):
            raise error
        if error.code == 401:
            return CliError(f"{where} doesn't know you (401)", "log in to the cluster again")
        if error.code == 403:
            return CliError(
                f"you may not: {error}",
                f"ask for rights on {GROUP} in the namespace {namespace or self.namespace}: "
                "the cluster role edit has them",
            )
        if error.code == 404 and not error.details.get("name"):
            return CliError(f"{where} doesn't know {GROUP} resources", _INSTALL)
        if error.code == 404:
            return CliError(
                f"no {what} in the namespace {namespace or self.namespace} of {where}",
                "see what there is: luthier list --all-namespaces",
            )
        return CliError(f"{where} refused {what}: {error} ({error.code})", "")


def connect(
    kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
) -> Cluster:
    """The cluster that kubectl would talk to with the same options. Raises CliError."""
    configuration = Configuration()
    kubeconfig = str(path_of(kubeconfig)) if kubeconfig else None
    try:
        if not configured(kubeconfig, context) and os.path.exists(_NAMESPACE_FILE):
            load_incluster_config(client_configuration=configuration)
            with open(_NAMESPACE_FILE, encoding="utf-8") as file:
                name, default = "in-cluster", file.read().strip()
        else:
            contexts, current = list_kube_config_contexts(config_file=kubeconfig)
            chosen = next((c for c in contexts if c["name"] == context), None)
            if context and chosen is None:
                names = ", ".join(c["name"] for c in contexts)
                raise CliError(f"no context {context!r} in the kubeconfig", f"there are: {names}")
            chosen = chosen or current
            name = chosen["name"]
            default = chosen["context"].get("namespace") or "default"
            load_kube_config(kubeconfig, name, client_configuration=configuration)
    except ConfigException as error:
        raise CliError(
            f"no cluster is configured: {str(error).strip()}",
            "name a kubeconfig with --kubeconfig or KUBECONFIG",
        ) from None
    configuration.retries = 0  # who calls decides: a watch reconnects, a command says so
    return Cluster(ApiClient(configuration), name, configuration.host, namespace or default)


def read(cluster: Cluster, target: Target) -> Object:
    """The object now. Raises CliError."""
    try:
        return cluster.request("GET", target.path(cluster.namespace))
    except (ApiError, UnreachableError) as error:
        raise cluster.explain(error, str(target)) from None


def list_all(cluster: Cluster, kind: Kind, namespace: str | None) -> list[Object]:
    """All of a kind, in a namespace or (None) in every one. Raises CliError."""
    try:
        found = _pages(cluster, kind.collection(namespace), {})
    except (ApiError, UnreachableError) as error:
        raise cluster.explain(error, kind.plural, namespace) from None
    return [{"kind": kind.name, **it} for it in found]  # a list's items don't say


def events_of(cluster: Cluster, resource: Object) -> list[Object]:
    """The Events about it; none where the user may not read them. Raises CliError."""
    uid, namespace = resource["metadata"]["uid"], resource["metadata"]["namespace"]
    path = f"/api/v1/namespaces/{namespace}/events"
    try:
        return _pages(cluster, path, {"fieldSelector": f"involvedObject.uid={uid}"})
    except UnreachableError as error:
        raise cluster.explain(error, "events") from None
    except ApiError as error:
        if error.code == 403:
            return []
        raise cluster.explain(error, "events") from None


def _pages(cluster: Cluster, path: str, query: dict[str, Any]) -> list[Object]:
    """The items of a list, page by page. Raises ApiError and UnreachableError."""
    found: list[Object] = []
    after = ""
    while True:
        page = {"limit": _PAGE, **({"continue": after} if after else {})}
        answer = cluster.request("GET", path, {**query, **page})
        found += answer.get("items") or []
        after = (answer.get("metadata") or {}).get("continue") or ""
        if not after:
            return found


def watch(
    cluster: Cluster, target: Target, namespace: str, deadline: float | None = None
) -> Iterator[Object | None]:
    """The object now, then at each of its changes; None once it is deleted.

    Reconnects by itself. Ends silently at `deadline` (time.monotonic). Raises
    ApiError when the API server refuses, and UnreachableError when it can't be
    reached for `_PATIENCE` seconds.
    """
    lost_since: float | None = None
    version: str | None = None
    seen = False
    path = target.kind.collection(namespace)
    while deadline is None or time.monotonic() < deadline:
        try:
            if version is None:
                current = cluster.request("GET", target.path(namespace))
                version = current["metadata"]["resourceVersion"]
                yield current
                seen = True
            lost_since = None
            for event in _events(cluster, path, target.name, version, deadline):
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    yield None
                    return
                if event["type"] != "BOOKMARK":
                    yield event["object"]
        except GoneError:
            version = None
        except (UnreachableError, ApiError) as error:
            if seen and isinstance(error, ApiError) and error.code == 404:
                yield None
                return
            if isinstance(error, ApiError) and error.code < 500 and error.code != 429:
                raise
            now = time.monotonic()
            lost_since = lost_since or now
            if now - lost_since > _PATIENCE:
                raise
            time.sleep(_RECONNECT_SECONDS)


def _events(
    cluster: Cluster, path: str, name: str, version: str, deadline: float | None
) -> Iterator[Object]:
    """Events of one watch request. Raises GoneError, ApiError or UnreachableError."""
    seconds = float(_WATCH_SECONDS)
    if deadline is not None:
        seconds = max(1.0, min(seconds, deadline - time.monotonic()))
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": round(seconds),
    }
    # A server that has died without a word is noticed by the read timeout.
    for line in cluster.lines(path, query, read_timeout=seconds + 10):
        event: Object = json.loads(line)
        if event["type"] == "ERROR":
            status = event["object"]
            if status.get("code") == 410:
                raise GoneError
            raise ApiError(status.get("code", 500), status)
        yield event


def _status_object(response: urllib3.HTTPResponse) -> Object:
    body = response.read().decode("utf-8", "replace")
    try:
        status = json.loads(body)
    except ValueError:
        return {"message": body.strip()[:500]}
    return status if isinstance(status, dict) else {"message": body.strip()[:500]}


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    # urllib3 puts the connection object before the message.
    return str(cause).rpartition(">: ")[2] or type(cause).__name__
