"""What optimising knows of a format of packages: everything else about it is behind this.

There are two: `genai`, which onnxruntime-genai runs, and `onnx`, which ONNX Runtime alone runs.
Each brings a `Builder` in its `build.py`. Nothing slow is imported before it is asked for; and
where a `Runner` can do without torch it does, since a package's memory is measured in a process
that imports what its runner does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from luthier_trainer.errors import unsupported

if TYPE_CHECKING:
    from luthier_trainer.models.heads import Head
    from luthier_trainer.objectives.reading import Reading

FormatName = Literal["genai", "onnx"]


@dataclass(frozen=True)
class Source:
    """A model that stands alone, unquantised.

    `folder` has config.json, safetensors and tokenizer, with every adapter that can be merged
    merged. `bottleneck`: the folder of bottleneck adapters (methods/bottleneck.py), which
    can't be: then `folder` has their base. `apart`: (base, adapter), the folders of both where
    the adapter is to stay a file of its own; `folder` has it merged all the same.

    `pad_id`: what batches are padded with. `longest`: tokens of the longest row that is measured
    or timed. `digest`: sha256 of all that it was made of. `pooling`: how tokens' vectors become a
    text's (training.Similarity), where it ends in vectors; `reading`: how a head's logits are read.
    """

    folder: Path
    head: Head
    digest: str
    pad_id: int
    longest: int = 512
    bottleneck: Path | None = None
    apart: tuple[Path, Path] | None = None
    pooling: str = "mean"
    reading: Reading | None = None

    def load(self) -> Any:
        """The model by PyTorch: fp32, in eval mode, on the CPU. Raises TrainerError."""
        from luthier_trainer.models.load import BaseSource
        from luthier_trainer.models.precision import Precision

        base = BaseSource(self.folder, self.head, self.longest, seed=0, pad_id=self.pad_id)
        model = base.load(Precision("fp32"))
        if self.bottleneck:
            from luthier_trainer.methods import bottleneck

            try:
                model = bottleneck.load(model, self.bottleneck)
            except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
                raise unsupported(
                    "AdapterUnusable",
                    f"the bottleneck adapters can't be put on their base: {str(error)[:300]}; name "
                    "the folder that the FineTuneJob wrote, and its base",
                    "source",
                ) from error
        return model.eval()


class Runner(Protocol):
    """A package (or the source itself, by PyTorch) that is loaded."""

    def as_model(self) -> Any:
        """It as an nn.Module that the objectives measure as if it were a model of transformers
        (evaluation/measure.py runs on it unchanged): `config`, `generation_config`, at least
        one parameter on the CPU, and

        - forward(input_ids, attention_mask, …) → an object with `logits` or
          `last_hidden_state` as torch tensors. Rows are padded at the right. Its signature
          names `logits_to_keep` or `position_ids` only where it takes them: the objectives look.
        - generate(input_ids, attention_mask, max_new_tokens, eos_token_id, pad_token_id, **_) →
          [rows, prompt + new tokens], greedy, where it generates. Without `position_ids` in the
          forward's signature all rows of a call have the same length and no padding.
        """
        ...

    def answer(
        self, prompts: Sequence[Sequence[int]], new_tokens: int, on_token: Callable[[], None]
    ) -> None:
        """For the benchmark: read the prompts, all of one length, and generate exactly
        `new_tokens` for each, greedily, whatever ends a text. `on_token` is called after each
        token of all prompts. What generates nothing (an encoder) reads them and calls it once.
        """
        ...


class Builder(Protocol):
    """Makes and opens packages of one format."""

    format: FormatName

    def refuses(self, source: Source) -> str | None:
        """Why it can't make a package of this model, in words for the user and with a remedy;
        None: it can. Reads config.json at most."""
        ...

    def unbuildable(self, source: Source, precision: str) -> str | None:
        """Why this precision of this model can't be built with the order's options, told from
        config.json, in words and with a remedy; None: nothing is known against it."""
        ...

    def automatic(self, source: Source) -> tuple[str, ...]:
        """The precisions that `auto` comes to for the order's device."""
        ...

    def require(self, precision: str) -> None:
        """Raises TrainerError (PrecisionNotSupported, param "precisions") unless it can make it
        for the order's device."""
        ...

    def options(self, precision: str) -> dict[str, Any]:
        """All else that shapes a package of this precision, as JSON: part of its key in the
        cache, and told in the report."""
        ...

    def build(self, source: Source, precision: str, folder: Path) -> None:
        """Fill the new folder `folder` with all that is needed to run it: weights, configuration,
        tokenizer. Raises TrainerError (BuildFailed), Interrupted."""
        ...

    def open(self, folder: Path, threads: int) -> Runner:
        """Load a package, on the CPU. Called in other processes too, by a builder of an order
        without settings: it depends on the folder alone. Raises whatever the runtime raises."""
        ...
