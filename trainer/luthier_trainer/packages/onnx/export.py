"""A model of transformers as ONNX graphs, with any number of rows and tokens.

By torch.onnx's exporter on torch.export. Its older one, which records what one example does,
was tried on the same models: it bakes the example's lengths into the graph without a word, and
the logits of other lengths are wrong by their own size.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.packages.onnx.graphs import Continues, Decodes, Embeds, Encodes, Reads

# The example that is followed: sizes that are neither 0 nor 1, which torch takes for constants,
# and all different.
_ROWS, _TOKENS, _PAST = 3, 6, 5
_OPSET = 20


@dataclass(frozen=True)
class Graph:
    """A graph to be: inputs as the module takes them, with their names and axes in order."""

    name: str
    module: nn.Module
    example: tuple[Any, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    # Of each input (of each tensor in a list of them): axis → the name of its size.
    axes: tuple[dict[int, str], ...]


def graphs_of(model: Any, auto_class: str, pooling: str) -> list[Graph]:
    """The graphs that a model, loaded as `auto_class`, comes to: one, or for encoder-decoders
    two. It must be in eval mode, with eager attention. `pooling`: see contract.Source."""
    if auto_class == "AutoModelForCausalLM":
        return [_continues(model)]
    if auto_class == "AutoModelForSeq2SeqLM":
        return _translates(model)
    ids, read = _ids(model, _TOKENS), {0: "rows", 1: "tokens"}
    embeds = auto_class == "AutoModel"
    return [
        Graph(
            "model",
            Embeds(model, pooling) if embeds else Reads(model),
            (ids, torch.ones_like(ids)),
            ("input_ids", "attention_mask"),
            ("last_hidden_state", pooling) if embeds else ("logits",),
            (read, read),
        )
    ]


def export(graph: Graph) -> Any:
    """The graph as onnx_ir.Model. Its nodes are named by the modules that they come from."""
    shapes = tuple(
        [dict(axes)] * len(example) if isinstance(example, list) else dict(axes)
        for example, axes in zip(graph.example, graph.axes, strict=True)
    )
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.module.eval(),
            graph.example,
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_shapes=shapes,
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    _name_nodes(program.model)
    return program.model


def _continues(model: Any) -> Graph:
    ids = _ids(model, _TOKENS)
    with torch.no_grad():
        cache = model(input_ids=ids[:, :_PAST], use_cache=True).cache
    past = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    layers = len(past) // 2
    read = {0: "rows", 1: "tokens"}
    return Graph(
        "model",
        Continues(model),
        (
            ids,
            torch.ones(_ROWS, _PAST + _TOKENS, dtype=torch.int64),
            torch.arange(_PAST, _PAST + _TOKENS).expand(_ROWS, -1).contiguous(),
            torch.tensor([0, _TOKENS - 1]),
            past,
        ),
        (
            "input_ids",
            "attention_mask",
            "position_ids",
            "logits_to_keep",
            *_names("past_key_values", layers),
        ),
        ("logits", *_names("present", layers)),
        (read, {0: "rows", 1: "all_tokens"}, read, {0: "kept"}, {0: "rows", 2: "past"}),
    )


def _translates(model: Any) -> list[Graph]:
    ids = _ids(model, _TOKENS)
    encodes = Encodes(model)
    with torch.no_grad():
        _, *cross = encodes(ids, torch.ones_like(ids))
    layers = len(cross) // 2
    past = [torch.zeros_like(each[:, :, :_PAST]) for each in cross]
    read, source = {0: "rows", 1: "tokens"}, {0: "rows", 1: "source"}
    return [
        Graph(
            "encoder",
            encodes,
            (ids, torch.ones_like(ids)),
            ("input_ids", "attention_mask"),
            ("last_hidden_state", *_names("cross", layers)),
            (source, source),
        ),
        Graph(
            "decoder",
            Decodes(model),
            (_ids(model, _TOKENS - 2), torch.ones_like(ids), past, cross),
            (
                "input_ids",
                "encoder_attention_mask",
                *_names("past_key_values", layers),
                *_names("cross", layers),
            ),
            ("logits", *_names("present", layers)),
            (read, source, {0: "rows", 2: "past"}, {0: "rows", 2: "source"}),
        ),
    ]


def _names(prefix: str, layers: int) -> list[str]:
    return [f"{prefix}.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]


def _ids(model: Any, tokens: int) -> Tensor:
    """Tokens without padding that end as texts do: some heads look for it."""
    config = model.config.get_text_config()
    ends = config.eos_token_id
    end = ends[0] if isinstance(ends, list) else ends
    special = {config.pad_token_id, end, None}
    ordinary = [i for i in range(min(config.vocab_size, tokens + 3)) if i not in special][:tokens]
    ids = torch.tensor(ordinary).expand(_ROWS, -1).contiguous()
    if end is not None and end < config.vocab_size:
        ids[:, -1] = end
    return ids


def _name_nodes(model: Any) -> None:
    """Nodes get names of their modules, and lose the notes of the exporter: lines of source
    with the paths of the machine that it ran on."""
    taken: dict[str, int] = {}
    for node in model.graph.all_nodes():
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
        name = f"{_module(scopes)}/{node.op_type}"
        taken[name] = taken.get(name, -1) + 1
        node.name = f"{name}_{taken[name]}" if taken[name] else name
        node.metadata_props.clear()
        node.doc_string = None
    for value in _values(model.graph):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def _values(graph: Any) -> Iterator[Any]:
    yield from (*graph.inputs, *graph.outputs, *graph.initializers.values())
    for node in graph.all_nodes():
        yield from node.outputs


def _module(scopes: str) -> str:
    """The innermost module of the model: of "['', 'model', 'model.bert', …, 'linear']"."""
    modules = [each.strip(" '\"") for each in scopes.strip("[]").split(",")][:-1]
    inner: Sequence[str] = [each for each in modules if each.startswith("model.")]
    return inner[-1].removeprefix("model.") if inner else "graph"


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages that nothing here needs, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
