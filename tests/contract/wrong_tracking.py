"""Trackers that can't be told, or would be told a secret."""

from typing import Any

from contract.wrong import Wrong, wrong

_KEY = {"name": "mlflow", "key": "token"}


def _mlflow(title: str, fields: dict[str, Any], field: str, words: str) -> Wrong:
    return wrong(title, {"tracking": {"mlflow": fields}}, f"spec.tracking.mlflow.{field}", words)


def _wandb(title: str, fields: dict[str, Any], field: str, words: str) -> Wrong:
    return wrong(title, {"tracking": {"wandb": fields}}, f"spec.tracking.wandb.{field}", words)


TRACKING = [
    _mlflow("tracker in a folder", {"uri": "file:///mlruns"}, "uri", "https://HOST/PATH"),
    _mlflow("password of a tracker", {"uri": "https://a:b@mlflow"}, "uri", "belong in a Secret"),
    _mlflow("query of a tracker", {"uri": "https://mlflow/?token=a"}, "uri", "belong in a Secret"),
    _mlflow("up from a tracker", {"uri": "https://mlflow/a/../b"}, "uri", "the plain path"),
    _mlflow("nobody's password", {"passwordSecretRef": _KEY}, "username", "belong together"),
    _mlflow("nobody logs in", {"username": "ada"}, "username", "belong together"),
    _mlflow(
        "two logins",
        {"username": "ada", "passwordSecretRef": _KEY, "tokenSecretRef": _KEY},
        "tokenSecretRef",
        "either by a token or by a password",
    ),
    _mlflow("lines of an experiment", {"experiment": "a\nb"}, "experiment", "no line ends"),
    _wandb("folder of a project", {"project": "a/b"}, "project", "W&B's names have no blanks"),
    _wandb("blank of an entity", {"entity": "a b"}, "entity", "W&B's names have no blanks"),
    _wandb("mode of W&B", {"mode": "disabled"}, "mode", "Unsupported value"),
    _wandb("server of W&B", {"uri": "api.wandb.ai"}, "uri", "https://HOST/PATH"),
]
