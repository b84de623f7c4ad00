"""`--set`, `--model`, `--dataset`: changes to a manifest before it runs on this machine. Pure."""

from collections.abc import Sequence
from typing import Any

from luthier_cli.errors import CliError
from luthier_cli.yaml import YamlError, load_value

_MAX_DEPTH = 16  # the deepest field of the API has eight


def apply(
    spec: dict[str, Any], settings: Sequence[str], kind: str = "finetunejob"
) -> dict[str, Any]:
    """A copy of `spec` with each `path=value` set; `path=null` removes. `kind`: as kubectl calls
    it. Raises CliError."""
    for setting in settings:
        path, sign, text = setting.partition("=")
        parts = path.strip().removeprefix("spec.").split(".")
        if not sign or not all(parts) or len(parts) > _MAX_DEPTH:
            raise CliError(
                f"--set {setting:.200}: not of the form field=value",
                "write e.g. --set training.maxSteps=5",
            )
        try:
            value = load_value(text)
        except YamlError as error:
            raise CliError(f"--set {setting:.200}: {error.message}", "quote the value") from None
        spec = _with(spec, parts, value, setting, kind)
    return spec


def _with(node: Any, parts: Sequence[str], value: Any, setting: str, kind: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise CliError(
            f"--set {setting:.200}: {parts[0]} can't lie below a value that isn't a mapping",
            f"name a field that is there: kubectl explain {kind}.spec",
        )
    name, *rest = parts
    if rest:
        below = node.get(name)
        value = _with({} if below is None else below, rest, value, setting, kind)
    if value is None:
        return {key: item for key, item in node.items() if key != name}
    return {**node, name: value}
