"""The folder of a package: graphs, configuration, tokenizer, and how to run it.

luthier.json says what the graphs take and give; README.md shows it by example. A graph lies
with its weights in one file, or beside them (NAME.onnx.data) where one file would be too large
for the format.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier_trainer.models.save import keep_texts_whole, write_ends
from luthier_trainer.objectives.ends import end_tokens
from luthier_trainer.objectives.tokens import begin_tokens
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.onnx.layout import LAYOUT, layout
from luthier_trainer.packages.onnx.readme import readme

# protobuf ends at 2 GB; the graph itself needs some of it.
_ONE_FILE_BYTES = 1_500_000_000


def write(
    folder: Path,
    graphs: Mapping[str, Any],
    model: Any,
    tokenizer: Any,
    source: Source,
    precision: str,
) -> None:
    """`graphs`: name → onnx_ir.Model. `model`: what they were exported from, of `source`."""
    head = source.head
    pooling = source.pooling if head.auto_class == "AutoModel" else None
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        _save(graph, folder / f"{name}.onnx")
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = True  # which is off for training alone
    model.config.save_pretrained(folder)
    tokens: dict[str, Any] = {"pad": source.pad_id}
    if head.auto_class in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM"):
        model.generation_config.save_pretrained(folder)
        tokens["ends"] = end_tokens(model, tokenizer)
        write_ends(folder, model, tokens["ends"])
        if "decoder" in graphs:
            tokens["start"] = model.generation_config.decoder_start_token_id
        else:
            tokens["begin"] = begin_tokens(tokenizer)
    tokenizer.save_pretrained(folder)
    keep_texts_whole(folder)
    document = layout(
        graphs, head.auto_class, head.labels, precision, pooling, tokens, source.reading
    )
    (folder / LAYOUT).write_text(json.dumps(document, indent=2) + "\n")
    (folder / "README.md").write_text(readme(document))


def _save(graph: Any, path: Path) -> None:
    import onnx_ir as ir

    size = sum(each.const_value.nbytes for each in graph.graph.initializers.values())
    beside = f"{path.name}.data" if size > _ONE_FILE_BYTES else None
    ir.save(graph, path, external_data=beside)
