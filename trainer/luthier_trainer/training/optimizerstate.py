"""An optimiser's state_dict as flat tensors and JSON, whatever it nests.

bitsandbytes keeps quantised states below a key of their own, and one quantisation map for
all weights: a tensor that occurs twice is kept once.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PREFIX = "optimizer."
_BETWEEN = "/"


def flatten(state_dict: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors by name, JSON-ready rest)."""
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}

    def strip(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            identity = (value.data_ptr(), value.shape, value.dtype) if value.numel() else (name,)
            if identity in seen:
                shared[name] = seen[identity]
            else:
                seen[identity] = name
                tensors[_PREFIX + name] = value
            return None
        if isinstance(value, dict):
            parts = {key: strip(part, f"{name}{_BETWEEN}{key}") for key, part in value.items()}
            return {key: part for key, part in parts.items() if not isinstance(value[key], Tensor)}
        return value

    rest = {str(i): strip(state, str(i)) for i, state in state_dict["state"].items()}
    return tensors, {"rest": rest, "shared": shared, "groups": state_dict["param_groups"]}


def index_of(name: str) -> int | None:
    """Of which weight the named tensor is a state; None: it is none."""
    if not name.startswith(_PREFIX):
        return None
    return int(name.removeprefix(_PREFIX).partition(_BETWEEN)[0])


def restore(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> dict[str, Any]:
    """The state_dict that `flatten` took apart; its tensors are copies."""
    state: dict[int, Any] = {int(i): _copy(rest) for i, rest in document["rest"].items()}
    own = {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
    own |= {name: own[source] for name, source in document["shared"].items()}
    for name, tensor in own.items():
        index, *path = name.split(_BETWEEN)
        place = state[int(index)]
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = tensor.clone()
    return {"state": state, "param_groups": document["groups"]}


def _copy(value: Any) -> Any:
    return {key: _copy(part) for key, part in value.items()} if isinstance(value, dict) else value
