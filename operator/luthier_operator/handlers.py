"""Every kopf decorator. kopf watches; it handles nothing and writes nothing."""

from collections.abc import Callable
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from luthier_operator.resources import CHILDREN, KIND_LABEL, OWNERS, Obj, Resource

Seen = Callable[[Resource, str | None, Obj], None]


def build_registry(login: Callable[[], Configuration], seen: Seen) -> kopf.OperatorRegistry:
    """The handlers. `seen` gets resource, event type (None: listed) and object."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    async def authenticate(**_: Any) -> kopf.ConnectionInfo:
        return await connection(login())

    for resource in (*OWNERS, *CHILDREN):
        _watch(registry, resource, seen)
    return registry


def _watch(registry: kopf.OperatorRegistry, resource: Resource, seen: Seen) -> None:
    @kopf.on.event(  # type: ignore[untyped-decorator]
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        id=f"watch-{resource.plural}",
        registry=registry,
    )
    async def watched(event: Any, **_: Any) -> None:
        seen(resource, event["type"], event["object"])


class Endless:
    """Pauses between tries that never end: kopf gives up after a finite list of them."""

    def __iter__(self) -> Any:
        pause = 0.5
        while True:
            yield pause
            pause = min(10.0, pause * 2)


def build_settings() -> kopf.OperatorSettings:
    """kopf as a watcher only; each setting is explained by what it prevents."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # no Events of kopf's own
    settings.scanning.disabled = True  # no rights on CRDs and namespaces
    settings.peering.standalone = True
    settings.networking.error_backoffs = Endless()
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 0.5  # thousands of idle workers otherwise
    settings.queueing.exit_timeout = 0.1  # nothing waits in kopf's own queues
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    for resource in CHILDREN:
        key = (resource.group, resource.version, resource.plural)
        settings.watching.label_selectors[key] = KIND_LABEL
    return settings


class _NoProgress(kopf.ProgressStorage):  # type: ignore[misc]
    """Stores nothing: no handler has progress."""

    def fetch(self, **_: Any) -> None:
        """Nothing."""

    def store(self, **_: Any) -> None:
        """Nothing."""

    def purge(self, **_: Any) -> None:
        """Nothing."""

    def touch(self, **_: Any) -> None:
        """Nothing."""

    def clear(self, *, essence: Any) -> Any:
        """The object as it is."""
        return essence


class _NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc]
    """Stores nothing: no handler looks at differences."""

    def build(self, **_: Any) -> Any:
        """Nothing to compare."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing."""

    def store(self, **_: Any) -> None:
        """Nothing."""


async def connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """kopf's view of the client's configuration, so that both log in alike."""
    header = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
