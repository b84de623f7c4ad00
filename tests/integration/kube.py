"""What a user and a kubelet do to the API server, for tests. Plain JSON through kubectl's API."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import kubernetes
from kubernetes.client import ApiException

Obj = dict[str, Any]
T = TypeVar("T")

PATHS = {
    "finetunejobs": "/apis/luthier.dev/v1alpha1",
    "optimizejobs": "/apis/luthier.dev/v1alpha1",
    "adapterbundles": "/apis/luthier.dev/v1alpha1",
    "jobs": "/apis/batch/v1",
    "jobsets": "/apis/jobset.x-k8s.io/v1alpha2",
    "events": "/apis/events.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}


def eventually(check: Callable[[], T | None], seconds: float = 30.0) -> T:
    """The first truthy answer; a failing `check` is tried again until the time is up.

    A step counts a second at most: a machine that stood still meanwhile delays nobody.
    """
    left = seconds
    while True:
        began = time.monotonic()
        try:
            if answer := check():
                return answer
            failure: Exception = AssertionError(f"still {answer!r} after {seconds} s")
        except (AssertionError, KeyError, IndexError, ApiException) as error:
            failure = error
        if left <= 0:
            raise failure
        time.sleep(0.1)
        left -= min(1.0, time.monotonic() - began)


def now(off: timedelta = timedelta()) -> str:
    """metav1.Time, by a clock that is so far off."""
    return (datetime.now(UTC) + off).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kube:
    """One API server, as its administrator."""

    def __init__(self, kubeconfig: str) -> None:
        self._client = kubernetes.config.new_client_from_config(kubeconfig)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Obj:
        """One request; ApiException for a refusal."""
        text = self.text(path, method, body, content_type)
        return dict(json.loads(text)) if text else {}

    def text(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        content_type: str = "application/json",
    ) -> str:
        """The answer as it comes, e.g. a log."""
        prepared = self._client.param_serialize(
            method,
            path,
            header_params={"Accept": "application/json, */*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self._client.call_api(*prepared, _request_timeout=30)
        text: str = response.read().decode(errors="replace")
        if response.status >= 400:
            error = ApiException(status=response.status, reason=response.reason)
            error.body = text
            raise error
        return text

    def path(self, plural: str, namespace: str | None, *rest: str) -> str:
        """URL path of a kind."""
        root = PATHS.get(plural, "/api/v1")
        where = f"/namespaces/{namespace}" if namespace else ""
        return "/".join((f"{root}{where}/{plural}", *rest))

    def get(self, plural: str, namespace: str | None, name: str) -> Obj:
        """An object."""
        return self.request("GET", self.path(plural, namespace, name))

    def list(self, plural: str, namespace: str | None, query: str = "") -> list[Obj]:
        """Objects."""
        return list(self.request("GET", self.path(plural, namespace) + query)["items"])

    def create(self, plural: str, namespace: str | None, obj: Obj, *rest: str) -> Obj:
        """Create an object, or a subresource."""
        return self.request("POST", self.path(plural, namespace, *rest), obj)

    def patch(
        self, plural: str, namespace: str | None, name: str, changes: Obj, sub: str = ""
    ) -> Obj:
        """Merge-patch an object, or its status."""
        rest = (name, sub) if sub else (name,)
        return self.request(
            "PATCH", self.path(plural, namespace, *rest), changes, "application/merge-patch+json"
        )

    def delete(self, plural: str, namespace: str | None, name: str, **options: Any) -> Obj:
        """Delete an object."""
        return self.request("DELETE", self.path(plural, namespace, name), options or None)
