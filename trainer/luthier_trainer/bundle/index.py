"""index.json: what a package holds, for those who run it, and for the next package."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from luthier_api.adapterbundle import Bundling
from luthier_api.meta import Model
from luthier_api.optimizejob import SourceRef
from luthier_trainer.packages.genai.modules import PROJECTIONS
from luthier_trainer.published.ask import Ask

INDEX = "index.json"
MODEL_FOLDER = "model"
# Rises with every change of how parts are made: those of before are made anew.
FORMAT = 4

_TOOLS = ("onnx", "onnxruntime", "onnxruntime-genai", "transformers")


class File(Model):
    """A file of the package."""

    sha256: str
    bytes: int


class BasePart(Model):
    """The base as a graph. `key`: of all that it was made from."""

    key: str
    uri: str
    digest: str
    architecture: str
    precision: str
    device: str
    target_modules: list[str]
    begin_tokens: list[int] = Field(
        default=[],
        description="What a text begins with, if the base's tokenizer puts a token before it.",
    )
    files: dict[str, File]


class Measured(Model):
    """A metric of an adapter on the rows that its run was measured on."""

    metric: str
    higher_is_better: bool
    split: str
    examples: int
    reported: float = Field(description="What the adapter's run reported.")
    value: float = Field(description="Of the adapter in this package.")


class Proof(Model):
    """How near an adapter in the package is to the original."""

    logits_difference: float = Field(
        description="Of a logit to that of peft on the unquantised base, at most."
    )
    base_difference: float = Field(description="The same without any adapter: the precision's.")
    effect: float = Field(description="What the adapter changes of a logit, at most.")
    kept: float | None = Field(
        default=None,
        description="The share of that effect that the package has; none where there is no effect.",
    )
    isolated: bool = Field(
        default=False, description="The same logits, bit by bit, after other adapters were active."
    )
    measured: Measured | None = None
    not_measured: str | None = Field(default=None, description="Why no metric was measured.")


class AdapterPart(Model):
    """An adapter in the package. `key`: of all that its file was made from."""

    name: str
    file: str
    sha256: str
    bytes: int
    key: str
    source: SourceRef
    base_verified: bool = Field(
        description="Whether its run says by digest that it was trained on this base."
    )
    ranks: list[int]
    alpha: float
    rank_stabilized: bool
    target_modules: list[str]
    layers: int = Field(description="How many layers it changes.")
    ask: Ask | None = Field(
        default=None, description="How it is asked, as the run that trained it tells."
    )
    custom_code: bool = Field(
        default=False,
        description="Whether code of the user's own took part in the run that trained it.",
    )
    proof: Proof


class LeftOutPart(Model):
    """An adapter that isn't in the package. `key` and `proof`: of one that failed its proof."""

    name: str
    source: SourceRef
    code: str
    message: str
    key: str | None = None
    proof: Proof | None = None


class Index(Model):
    """Contents of index.json."""

    format: Literal[1] = 1
    base: BasePart
    adapters: list[AdapterPart]
    left_out: list[LeftOutPart] = []
    versions: dict[str, str] = {}


def base_key(base_digest: str, bundling: Bundling, versions: Mapping[str, str]) -> str:
    """Of all that shapes the base's part. `versions`: of the installed packages."""
    return _key(
        format=FORMAT,
        base=base_digest,
        precision=bundling.precision,
        int4=bundling.int4.to_json() if bundling.precision == "int4" else None,
        target=bundling.target.to_json(),
        modules=PROJECTIONS,
        tools={name: versions.get(name) for name in _TOOLS},
    )


def adapter_key(base: str, digests: Mapping[str, str]) -> str:
    """Of all that shapes an adapter's part. `base`: the base's key; `digests`: file → sha256."""
    return _key(base=base, files=dict(sorted(digests.items())))


def _key(**inputs: Any) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
