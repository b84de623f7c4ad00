"""How the operator is told what to do: the environment, and luthier.yaml."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from luthier_api.fieldnames import meant
from luthier_api.platform import Platform, parse_platform

# Pauses are stretched by up to so much, so that replicas don't keep step.
JITTER = 1.2


class ConfigError(Exception):
    """The configuration can't be used; the message names the wrong field."""


@dataclass(frozen=True)
class Election:
    """The Lease of the replica that leads, and its times in seconds, as client-go has them."""

    namespace: str
    name: str
    lease_seconds: int  # so long nobody else takes it from a holder that isn't heard of
    renew_seconds: int  # so long a holder tries to renew it, and then steps down
    retry_seconds: int  # between two tries

    @property
    def margin_seconds(self) -> int:
        """So long who steps down has to end its work, before another may begin."""
        return self.lease_seconds - self.renew_seconds


@dataclass(frozen=True)
class Settings:
    """The operator's process. Every value is an environment variable with a default."""

    config: Path
    namespaces: tuple[str, ...]
    namespace_selector: str  # a label selector, as kubectl's; without it and names: all namespaces
    workers: int
    metrics_port: int
    health_port: int
    progress_port: int
    log_level: str
    election: Election
    pod_name: str
    pod_ip: str
    usage_seconds: int = 60  # between two writes of the ledger


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises ConfigError."""
    return Settings(
        config=Path(environment.get("LUTHIER_CONFIG", "/etc/luthier/luthier.yaml")),
        namespaces=tuple(
            name
            for part in environment.get("WATCH_NAMESPACES", "").split(",")
            if (name := part.strip())
        ),
        namespace_selector=environment.get("WATCH_NAMESPACE_SELECTOR", "").strip(),
        workers=_number(environment, "LUTHIER_WORKERS", 16, 1, 256),
        metrics_port=_number(environment, "LUTHIER_METRICS_PORT", 8080, 0, 65_535),
        health_port=_number(environment, "LUTHIER_HEALTH_PORT", 8081, 0, 65_535),
        progress_port=_number(environment, "LUTHIER_PROGRESS_PORT", 8090, 0, 65_535),
        log_level=environment.get("LUTHIER_LOG_LEVEL", "INFO").upper(),
        election=_election(environment),
        pod_name=environment.get("POD_NAME") or socket.gethostname(),
        pod_ip=environment.get("POD_IP") or "127.0.0.1",
        usage_seconds=_number(environment, "LUTHIER_USAGE_SECONDS", 60, 1, 3600),
    )


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(f"{name}={text!r}: a number from {least} to {most} is needed")
    return int(text)


def _election(environment: Mapping[str, str]) -> Election:
    lease = _number(environment, "LUTHIER_LEASE_SECONDS", 15, 3, 3600)
    renew = _number(environment, "LUTHIER_RENEW_SECONDS", 10, 2, 3600)
    retry = _number(environment, "LUTHIER_RETRY_SECONDS", 2, 1, 3600)
    if lease <= renew:
        raise ConfigError(
            f"LUTHIER_LEASE_SECONDS={lease} must be more than LUTHIER_RENEW_SECONDS={renew}: who "
            "leads has to step down before anybody else may lead"
        )
    if renew <= retry * JITTER:
        raise ConfigError(
            f"LUTHIER_RENEW_SECONDS={renew} must be more than {JITTER} times "
            f"LUTHIER_RETRY_SECONDS={retry}: else one failed try is the end of leading"
        )
    return Election(
        namespace=environment.get("POD_NAMESPACE") or "luthier-system",
        name=environment.get("LUTHIER_LEASE_NAME") or "luthier",
        lease_seconds=lease,
        renew_seconds=renew,
        retry_seconds=retry,
    )


def load_platform(path: Path) -> Platform:
    """luthier.yaml. Raises ConfigError that names file and field."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; LUTHIER_CONFIG names the file") from error
    try:
        document: Any = yaml.safe_load(text)
    # PyYAML lets out what Python says of impossible dates, numbers and depths.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a mapping with pools and defaultPool is needed")
    try:
        return parse_platform(document)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in it['loc']) or 'luthier.yaml'}: {_words(it)}"
            for it in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError("\n".join(lines)) from error


def _words(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown field: {meant(Platform, error['loc'])}"
    return error["msg"]
