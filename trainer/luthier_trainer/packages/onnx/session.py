"""A graph that is loaded, with arrays of numpy; keys and values stay where ONNX Runtime has them.

Without torch: what a package needs of memory is measured with this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of the tokens read so far.

    A forward never changes them but returns others, so a copy is the same object.
    """

    values: tuple[Any, ...]
    tokens: int

    def get_seq_length(self) -> int:
        return self.tokens

    def __deepcopy__(self, memo: dict[int, Any]) -> "KeysValues":
        return self


class Session:
    """A graph on the CPU. Raises whatever ONNX Runtime does."""

    def __init__(self, file: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self._hold = onnxruntime.OrtValue.ortvalue_from_numpy
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, Array], kept: Mapping[str, Any]) -> list[Any]:
        """All outputs, as ONNX Runtime holds them (numpy() copies one). `kept`: inputs that it
        holds already."""
        feed = {name: self._hold(np.ascontiguousarray(each)) for name, each in arrays.items()}
        found: list[Any] = self._session.run_with_ort_values(self._outputs, {**feed, **kept})
        return found

    def nothing(self, prefix: str, rows: int) -> KeysValues:
        """Keys and values of no token."""
        found = []
        for name in self._names(prefix):
            _, heads, _, size = self._inputs[name].shape
            empty = np.zeros((rows, heads, 0, size), _TYPES[self._inputs[name].type])
            found.append(self._hold(empty))
        return KeysValues(tuple(found), 0)

    def named(self, prefix: str, cache: KeysValues) -> dict[str, Any]:
        """As inputs."""
        return dict(zip(self._names(prefix), cache.values, strict=True))

    def _names(self, prefix: str) -> list[str]:
        return [name for name in self._inputs if name.startswith(prefix)]
