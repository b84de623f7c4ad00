"""What onnxruntime-genai's builder can't make int4 of, told from config.json. Pure.

Its quantisers with zero points pack those of two blocks into a byte, and fail where a matrix has
an odd number of blocks of inputs. `default`, and `rtn` without zero points, take any.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from luthier_api.optimizejob import Int4

_SIZES = (16, 32, 64, 128, 256)


def int4_refusal(config: Mapping[str, Any], int4: Int4) -> str | None:
    """Why, with a remedy; None: it can."""
    packs = int4.algorithm.startswith("k_quant") or (
        int4.algorithm.startswith("rtn") and not int4.symmetric
    )
    matrices = dict(_inputs(config))
    odd = {name: size for name, size in matrices.items() if _blocks(size, int4.block_size) % 2}
    if not packs or not odd:
        return None
    name, size = next(iter(odd.items()))
    even = [
        str(block)
        for block in _SIZES
        if not any(_blocks(inputs, block) % 2 for inputs in matrices.values())
    ]
    other = f"int4.blockSize to {' or '.join(even)}, or " if even else ""
    return (
        f"int4 by {int4.algorithm} packs blocks of {int4.block_size} weights in pairs, and the "
        f"{size} inputs of {name} come to {_blocks(size, int4.block_size)}, an odd number: set "
        f"{other}int4.algorithm to default"
    )


def _inputs(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The linear layers of a decoder → their inputs, as far as config.json tells."""
    text = config.get("text_config")
    config = text if isinstance(text, dict) else config
    numbers = {name: value for name, value in config.items() if type(value) is int and value > 0}
    hidden, heads = numbers.get("hidden_size"), numbers.get("num_attention_heads")
    if hidden:
        yield "q_proj, k_proj, v_proj, gate_proj, up_proj (hidden_size)", hidden
    size = numbers.get("head_dim") or (hidden // heads if hidden and heads else None)
    if heads and size:
        yield "o_proj (num_attention_heads × head_dim)", heads * size
    if "intermediate_size" in numbers:
        yield "down_proj (intermediate_size)", numbers["intermediate_size"]


def _blocks(inputs: int, size: int) -> int:
    return -(-inputs // size)
