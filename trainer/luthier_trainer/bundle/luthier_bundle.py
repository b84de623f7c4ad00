"""A bundle of adapters, run by onnxruntime-genai.

    bundle = Bundle("folder of the package")
    print(bundle.generate("tone", [{"role": "user", "content": "Where is my parcel?"}]))

First an adapter's name, or None for the base alone; then a text to be continued, or a
conversation. This file needs onnxruntime-genai and tokenizers (pip install both) and nothing else.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class Bundle:
    """The base, and its adapters, each loaded when it is first asked for."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        index = json.loads((self._folder / "index.json").read_text())
        self._files = {adapter["name"]: adapter["file"] for adapter in index["adapters"]}
        asks = {adapter["name"]: adapter.get("ask") or {} for adapter in index["adapters"]}
        self._chats = {name for name, ask in asks.items() if ask.get("form") == "chat"}
        self._begin: list[int] = index["base"]["beginTokens"]
        config = json.loads((self._folder / "model" / "genai_config.json").read_text())
        self._context: int = config["model"]["context_length"]
        self._model = og.Model(str(self._folder / "model"))
        # As when it was trained: onnxruntime-genai's own makes other tokens for some models.
        self._tokenizer = Tokenizer.from_file(str(self._folder / "model" / "tokenizer.json"))
        self._adapters = og.Adapters(self._model)
        self._loaded: set[str] = set()

    @property
    def adapters(self) -> list[str]:
        return list(self._files)

    def generate(
        self, adapter: str | None, prompt: str | list[dict[str, str]], **options: Any
    ) -> str:
        """The answer as one text; options are those of `stream`."""
        return "".join(self.stream(adapter, prompt, **options))

    def stream(
        self,
        adapter: str | None,
        prompt: str | list[dict[str, str]],
        max_new_tokens: int = 256,
        **search: Any,
    ) -> Iterator[str]:
        """The answer piece by piece. `search`: options of onnxruntime-genai, e.g.
        do_sample=True, temperature=0.7. Raises KeyError where there is no such adapter."""
        if adapter is not None:
            self._load(adapter)
        # What a chat template writes has its own.
        begin = self._begin if isinstance(prompt, str) and adapter not in self._chats else []
        if not isinstance(prompt, str):
            said = json.dumps(prompt)
            chats = og.Tokenizer(self._model)
            prompt = chats.apply_chat_template(said, add_generation_prompt=True)
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        if ids[: len(begin)] != begin:
            ids = [*begin, *ids]
        params = og.GeneratorParams(self._model)
        longest = min(len(ids) + max_new_tokens, self._context)
        params.set_search_options(**{"do_sample": False, "max_length": longest, **search})
        # A generator for each request: an adapter that is switched on a used one mixes states.
        generator = og.Generator(self._model, params)
        if adapter is not None:
            generator.set_active_adapter(self._adapters, adapter)
        generator.append_tokens(np.asarray(ids, dtype=np.int32))
        decoder = DecodeStream(skip_special_tokens=True)
        while not generator.is_done():
            generator.generate_next_token()
            piece = decoder.step(self._tokenizer, int(generator.get_next_tokens()[0]))
            if piece:  # a character may have several tokens
                yield piece

    def _load(self, adapter: str) -> None:
        if adapter not in self._files:
            raise KeyError(f"no adapter {adapter!r}; there are {', '.join(self._files)}")
        if adapter not in self._loaded:
            self._adapters.load(str(self._folder / self._files[adapter]), adapter)
            self._loaded.add(adapter)
