"""Whatever a model's config.json holds: the model is described, or refused by an error of ours."""

import contextlib
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from unit.trainer.strange_json import FEW, documents

from luthier_api.methods import Method
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.files import check_files, main_type, stored_bytes
from luthier_trainer.models.load import base_config
from luthier_trainer.objectives.positions import positions_of

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 100,
    "eos_token_id": [1, 2],
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    "is_encoder_decoder": False,
    "torch_dtype": "float32",
}
INDEX: dict[str, dict[str, Any]] = {
    "metadata": {"total_size": 8},
    "weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "x.safetensors"},
}
HEAD = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]},
    "b.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]},
}
READERS: tuple[Callable[[Path], object], ...] = (
    describe,
    lambda place: positions_of(base_config(place)),
    lambda place: check_files(place, Method()),
)


@FEW
@given(documents(CONFIG))
def test_a_config(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="luthier-fuzz-") as folder:
        Path(folder, "config.json").write_bytes(data)
        for read in READERS:
            with contextlib.suppress(TrainerError):
                read(Path(folder))


@FEW
@given(documents(INDEX), documents(HEAD))
def test_an_index_and_the_heads_of_its_files(index: bytes, head: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="luthier-fuzz-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        whole = struct.pack("<Q", len(head)) + head + bytes(8)
        for file in INDEX["weight_map"].values():
            (folder / file).write_bytes(whole)
        _read(folder)
        (folder / "model.safetensors.index.json").write_bytes(index)
        _read(folder)
        (folder / "model.safetensors").write_bytes(whole)
        _read(folder)


def _read(folder: Path) -> None:
    for read in (lambda place: check_files(place, Method()), main_type, stored_bytes):
        with contextlib.suppress(TrainerError):
            read(folder)
