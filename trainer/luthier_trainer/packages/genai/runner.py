"""A package that onnxruntime-genai runs, on the CPU: the only module here that imports it.

Without torch: what a package needs of memory is measured with this.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# The file of an adapter that stays apart from its base.
ADAPTER = "adapter.onnx_adapter"
_NAME = "adapter"  # that requests call it by
Logits = npt.NDArray[np.float32]
# Of a batch's logits: more rows than fit go one after the other.
_MOST_LOGITS_BYTES = 512_000_000


def library() -> Any:
    """onnxruntime-genai, whose import takes a while."""
    import onnxruntime_genai

    return onnxruntime_genai


def runs_here(device: str) -> bool:
    """Whether packages for a device (cpu, cuda or dml) can be run in this pod."""
    if device == "cpu":
        return True
    og = library()
    return bool(og.is_cuda_available() if device == "cuda" else og.is_dml_available())


class GenaiRunner:
    """See contract.Runner."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._og = og = library()
        document = json.loads((folder / "genai_config.json").read_bytes())["model"]
        self.vocabulary = int(document["vocab_size"])
        ends = document["eos_token_id"]
        self.ends: list[int] = ends if isinstance(ends, list) else [ends]
        # onnxruntime-genai tells padding by its id alone. The usual one, an end of text, may be
        # the last token of a row that counts; the last of a vocabulary is the rarest word.
        self.padding = self.vocabulary - 1
        # Attention within a window takes rows of one length alone, and room for all of a window.
        window = document["decoder"].get("sliding_window")
        self._pads = window is None
        self._least = int(window["window_size"]) if window else 0
        options = {"intra_op_num_threads": threads}
        config = og.Config(str(folder))
        config.overlay(
            json.dumps(
                {
                    "model": {
                        "pad_token_id": self.padding,
                        "decoder": {"session_options": options},
                    }
                }
            )
        )
        self._model = og.Model(config)
        self._adapters = og.Adapters(self._model)
        self._active: str | None = None
        if (folder / ADAPTER).exists():
            self.load_adapter(folder / ADAPTER, _NAME)
            self.use(_NAME)
        self.context = int(document["context_length"])

    def load_adapter(self, path: Path, name: str) -> None:
        """Load an .onnx_adapter. Raises RuntimeError."""
        self._adapters.load(str(path), name)

    def use(self, adapter: str | None) -> None:
        """Answer with a loaded adapter from now on, or with the base alone."""
        self._active = adapter

    def as_model(self) -> Any:
        from luthier_trainer.packages.genai.model import GenaiModel

        return GenaiModel(self)

    def answer(
        self, prompts: Sequence[Sequence[int]], new_tokens: int, on_token: Callable[[], None]
    ) -> None:
        length = len(prompts[0]) + new_tokens
        generator = self._generator(len(prompts), length, min_length=length)
        generator.append_tokens(np.array(prompts, dtype=np.int32))
        for _ in range(new_tokens):
            generator.generate_next_token()
            on_token()

    def logits(self, rows: Sequence[Sequence[int]]) -> Logits:
        """fp32 [rows, longest, vocabulary] at every token; anything at padding."""
        found = np.zeros((len(rows), max(map(len, rows)), self.vocabulary), np.float32)
        for group in self._groups(rows):
            batch = [rows[index] for index in group]
            generator = self._generator(len(batch), max(map(len, batch)) + 1)
            generator.append_tokens(self._padded(batch))
            logits = np.array(generator.get_output("logits"), dtype=np.float32)
            found[group, : logits.shape[1]] = logits
        return found

    def continued(self, rows: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
        """At most so many tokens after each row, up to the package's end of text, greedily."""
        found: dict[int, list[int]] = {}
        for group in self._groups(rows):
            batch = [rows[index] for index in group]
            found.update(zip(group, self._continued(batch, new_tokens), strict=True))
        return [found[index] for index in range(len(rows))]

    def _continued(self, rows: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
        longest = max(map(len, rows))
        generator = self._generator(len(rows), min(longest + new_tokens, self.context))
        generator.append_tokens(self._padded(rows))
        for _ in range(min(new_tokens, self.context - longest)):
            generator.generate_next_token()
            if generator.is_done():
                break
        found = [generator.get_sequence(index) for index in range(len(rows))]
        return [[int(token) for token in ids[longest:]] for ids in found]

    def _groups(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Indices of rows that are read together: all, where padding is possible.

        It is at the right, which is exact: at the left, as it is usual, attention with grouped
        queries would see other positions.
        """
        groups: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(0 if self._pads else len(row), []).append(index)
        return list(groups.values())

    def rows_at_once(self, tokens: int) -> int:
        """Rows of so many tokens whose logits are held at once."""
        return max(1, _MOST_LOGITS_BYTES // (4 * tokens * self.vocabulary))

    def _generator(self, rows: int, length: int, **options: Any) -> Any:
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(
            batch_size=rows,
            max_length=min(max(length, self._least), self.context),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            **options,
        )
        # A new one each time: nothing of an earlier request, or of its adapter, is left.
        generator = self._og.Generator(self._model, params)
        if self._active is not None:
            generator.set_active_adapter(self._adapters, self._active)
        return generator

    def _padded(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
        width = max(map(len, rows))
        padded = [[*row, *[self.padding] * (width - len(row))] for row in rows]
        return np.array(padded, dtype=np.int32)
