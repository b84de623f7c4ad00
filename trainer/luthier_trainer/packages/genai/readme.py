"""How a package of onnxruntime-genai is asked, in Python. Pure but for the package's own files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier_trainer.packages.genai.runner import ADAPTER
from luthier_trainer.pages.howto import ids, new_tokens, prompt_of
from luthier_trainer.published.ask import Ask

# Its own tokenizer leaves out, for some models, what a text begins with; this one is what the
# model was trained with.
CONFIG = "genai_config.json"
NEEDS = "`pip install onnxruntime-genai tokenizers`"


def program_of(package: Path, begin: Sequence[int], ask: Ask | None) -> str:
    """Of a package whose folder is here; an adapter that it has beside its base is switched on."""
    document = json.loads((package / CONFIG).read_bytes())
    adapter = f"{package.name}/{ADAPTER}" if (package / ADAPTER).exists() else None
    return program(document, begin, ask, adapter)


def program(
    document: Mapping[str, Any], begin: Sequence[int], ask: Ask | None, adapter: str | None
) -> str:
    """In the folder that has the package as model/. `document`: its genai_config.json; `begin`:
    tokens before every text; `adapter`: the file of one that is switched on."""
    config = document["model"]
    window = config["decoder"].get("sliding_window")
    least = int(window["window_size"]) if window else 0
    encoded = "tokenizer.encode(prompt, add_special_tokens=False).ids"
    room = f"len(ids) + {new_tokens(ask)}"
    room = f"max({room}, {least})" if least else room
    switched = (
        [
            "adapters = og.Adapters(model)",
            f'adapters.load("{adapter}", "adapter")',
            'generator.set_active_adapter(adapters, "adapter")',
        ]
        if adapter
        else []
    )
    return "\n".join(
        [
            "import onnxruntime_genai as og",
            "from tokenizers import Tokenizer",
            "",
            'model = og.Model("model")',
            'tokenizer = Tokenizer.from_file("model/tokenizer.json")',
            f"prompt = {prompt_of(ask)!r}",
            f"ids = {ids(encoded, begin_of(begin, ask))}",
            "params = og.GeneratorParams(model)",
            "params.set_search_options(",
            f"    max_length=min({room}, {config['context_length']}), do_sample=False",
            ")",
            "generator = og.Generator(model, params)  # a new one for each request",
            *switched,
            "generator.append_tokens(ids)",
            "while not generator.is_done():",
            "    generator.generate_next_token()",
            "print(tokenizer.decode(generator.get_sequence(0)[len(ids) :]))",
        ]
    )


def begin_of(begin: Sequence[int], ask: Ask | None) -> Sequence[int]:
    """A chat template writes it itself."""
    return [] if ask and ask.form == "chat" and ask.row else begin
