"""How the operator is told what to do: the environment, and luthier.yaml."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from luthier_api.platform import Platform, parse_platform


class ConfigError(Exception):
    """The configuration can't be used; the message names the wrong field."""


@dataclass(frozen=True)
class Settings:
    """The operator's process. Every value is an environment variable with a default."""

    config: Path
    namespaces: tuple[str, ...]  # empty: all
    workers: int
    relist_seconds: float
    metrics_port: int
    health_port: int
    progress_port: int
    log_level: str


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises ConfigError."""
    return Settings(
        config=Path(environment.get("LUTHIER_CONFIG", "/etc/luthier/luthier.yaml")),
        namespaces=tuple(
            name
            for part in environment.get("WATCH_NAMESPACES", "").split(",")
            if (name := part.strip())
        ),
        workers=_number(environment, "LUTHIER_WORKERS", 16, 1, 256),
        relist_seconds=_number(environment, "LUTHIER_RELIST_SECONDS", 600, 5, 86_400),
        metrics_port=_number(environment, "LUTHIER_METRICS_PORT", 8080, 0, 65_535),
        health_port=_number(environment, "LUTHIER_HEALTH_PORT", 8081, 0, 65_535),
        progress_port=_number(environment, "LUTHIER_PROGRESS_PORT", 8090, 0, 65_535),
        log_level=environment.get("LUTHIER_LOG_LEVEL", "INFO").upper(),
    )


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(f"{name}={text!r}: a number from {least} to {most} is needed")
    return int(text)


def load_platform(path: Path) -> Platform:
    """luthier.yaml. Raises ConfigError that names file and field."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; LUTHIER_CONFIG names the file") from error
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a mapping with pools and defaultPool is needed")
    try:
        return parse_platform(document)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in it['loc']) or 'luthier.yaml'}: {it['msg']}"
            for it in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError("\n".join(lines)) from error
