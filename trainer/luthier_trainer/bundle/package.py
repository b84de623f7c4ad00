"""The package as onnxruntime-genai runs it, with one adapter at a time or none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier_trainer.machine.runtime import threads
from luthier_trainer.packages.genai.runner import GenaiRunner, Logits
from luthier_trainer.packages.genai.unfit import UnfitError

__all__ = ["Logits", "Package"]


class Package:
    """A model's folder, and adapters that are loaded into it by name."""

    def __init__(self, folder: Path) -> None:
        """Raises RuntimeError where onnxruntime-genai doesn't take the model."""
        self._runner = GenaiRunner(folder, threads())

    def load(self, path: Path, name: str) -> None:
        """Raises UnfitError where onnxruntime-genai doesn't take the file."""
        try:
            self._runner.load_adapter(path, name)
        except RuntimeError as error:
            raise _rejected(error) from error

    def logits(self, ids: Sequence[int], adapter: str | None) -> Logits:
        """fp32 [tokens, vocabulary], with that adapter or none. Raises UnfitError."""
        self._runner.use(adapter)
        try:
            found: Logits = self._runner.logits([ids])[0]
        except RuntimeError as error:
            raise _rejected(error) from error
        return found

    def as_model(self, adapter: str) -> Any:
        """It as a model that the objectives measure, until another adapter is used."""
        self._runner.use(adapter)
        return self._runner.as_model()


def _rejected(error: RuntimeError) -> UnfitError:
    return UnfitError(
        "RejectedAtRuntime",
        f"onnxruntime-genai rejects it: {str(error)[:200]}",
        "train it on this bundle's base",
    )
