"""A whole bundle on a tiny model, and what it answers: by genai as it is, and by peft."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from unit.trainer.bundle_support import (
    SHAPES,
    MakeOrder,
    index_of,
    make_adapter,
    make_base,
    order_maker,
)
from unit.trainer.support import folder_of, spec_maker
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_api.optimizejob import SourceRef
from luthier_api.result import BundleResult
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.finetune.run import Run

TEXT = "Text: w1 w2 3 tomato\nColour: red and deep blue"
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Built:
    """A bundle of five adapters and one of a FineTuneJob, in fp32, built once for all tests."""

    base: Path
    adapters: dict[str, Path]
    trained: SourceRef
    make: MakeOrder
    order: BundleOrder
    result: BundleResult

    @property
    def sources(self) -> dict[str, Any]:
        return {**self.adapters, "colours": self.trained}

    @property
    def package(self) -> Path:
        return folder_of(self.order)


def build(place: Path, colours: Path) -> Built:
    """In `place`, with the dataset in `colours`."""
    base = make_base(place / "base", tiny_tokenizer_of("llama"))
    adapters = {
        name: make_adapter(base, place / "adapters" / name, **shape)
        for name, shape in SHAPES.items()
    }
    spec = spec_maker(base, colours, place)(
        output=f"file://{place}/runs/colours", metrics=["accuracy"], lora={"dropout": 0}
    )
    artifact = Run(spec).execute().artifact
    assert artifact
    digest = artifact.manifest_sha256
    trained = SourceRef(uri=artifact.uri, revision="r1-00000000", manifest_sha256=digest)
    make = order_maker(base, place)
    order = make({**adapters, "colours": trained}, bundling={"maxMetricDrop": 0.0})
    return Built(base, adapters, trained, make, order, BundleRun(order).execute())


def ids_of(built: Built) -> list[int]:
    from transformers import AutoTokenizer

    found: list[int] = AutoTokenizer.from_pretrained(built.base)(TEXT)["input_ids"]
    return found


class Genai:
    """A package as its README says to use it, with onnxruntime-genai alone."""

    def __init__(self, package: Path) -> None:
        import onnxruntime_genai as og

        self._og = og
        self.model = og.Model(str(package / "model"))
        self.adapters = og.Adapters(self.model)
        for adapter in json.loads((package / "index.json").read_text())["adapters"]:
            self.adapters.load(str(package / adapter["file"]), adapter["name"])

    def logits(self, ids: list[int], adapter: str | None = None) -> Logits:
        params = self._og.GeneratorParams(self.model)
        params.set_search_options(max_length=len(ids) + 1)
        generator = self._og.Generator(self.model, params)
        if adapter:
            generator.set_active_adapter(self.adapters, adapter)
        generator.append_tokens(np.array(ids, dtype=np.int32))
        found: Logits = np.array(generator.get_output("logits"))[0]
        return found


def by_peft(built: Built, ids: list[int], adapter: Path | None = None) -> Logits:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(built.base, dtype=torch.float32).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.inference_mode():
        found: Logits = model(input_ids=torch.tensor([ids])).logits[0].numpy()
    return found


def parts_of(order: BundleOrder) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in index_of(order)["adapters"]}
