"""The files of what is optimised, fetched and verified: an artifact of a FineTuneJob, or a
model's folder with or without an adapter's. Nothing slow is imported, nothing merged yet."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier_api.evaluation import Evaluation
from luthier_api.finetuning import FineTuning, ModelSource
from luthier_api.meta import part_of
from luthier_api.methods import Method
from luthier_api.result import ExitCode
from luthier_api.runspec import OptimizeOrder, RunOrder
from luthier_api.training import Training
from luthier_trainer.errors import TrainerError, blaming, data_error, unsupported
from luthier_trainer.log import log
from luthier_trainer.models import cache
from luthier_trainer.models.files import check_weights
from luthier_trainer.pod.claim import began_of
from luthier_trainer.pod.usercode import made_with_code
from luthier_trainer.published import adapterfit
from luthier_trainer.published import ask as asking
from luthier_trainer.published.artifact import base_of, open_artifact
from luthier_trainer.published.ask import ASK, Ask
from luthier_trainer.published.order import as_fine_tuning
from luthier_trainer.storage.objectstore import join
from luthier_trainer.storage.open import open_store

_NOT_MERGEABLE = ("prefix", "prompt")
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Fetched:
    """`model`: the folder of a whole model, or of the base of `adapter`. `method`: how that was
    trained (methods.MethodType); "full": there is none. `digest`: sha256 over all of it.

    `ask`: how it is asked, where the run that tuned it tells; `began`: when that run did.
    `custom_code`: whether code of the user's took part in it. `tuning`: how its rows are read and
    what is measured on them; None: there are none. `dataset_digest`: what the rows must be, where a
    run has reported on them.
    """

    uri: str
    digest: str
    model: Path
    method: str
    adapter: Path | None = None
    tuning: FineTuning | None = None
    dataset_digest: str | None = None
    licence: str | None = None
    ask: Ask | None = None
    began: datetime | None = None
    custom_code: bool = False

    @property
    def weight_bytes(self) -> int:
        """As they lie in storage, those of an adapter too; merged, they are in fp32."""
        folders = [folder for folder in (self.model, self.adapter) if folder]
        weights = (path for folder in folders for path in folder.glob("*.safetensors"))
        return sum(path.stat().st_size for path in weights)


def fetch(order: OptimizeOrder, folder: Path) -> Fetched:
    """Download to `folder` what isn't local. Raises TrainerError."""
    if order.source.manifest_sha256:
        return _artifact(order, folder)
    return _by_uri(order, folder)


def _artifact(order: OptimizeOrder, folder: Path) -> Fetched:
    """Of a FineTuneJob: model/ where it has one (merged, or of full fine-tuning), else adapter/
    and the base that it was trained on. An adapter that is to stay apart is taken as such."""
    uri = order.source.uri
    source = open_artifact(order.source, order, "source.fineTuneJobRef")
    manifest, tuning, parts = source.manifest, source.tuning, source.parts
    apart = order.optimizing.adapter == "Separate" and "adapter" in parts
    part = "model" if "model" in parts and not apart else "adapter"
    method = tuning.method.type
    if part == "adapter" and method in _NOT_MERGEABLE:
        raise _not_mergeable(method, "source.fineTuneJobRef")
    count = source.download(folder, [part])
    log(f"source: {uri}, {part} of {method}, {count} files verified")
    common: dict[str, Any] = {
        "uri": uri,
        "digest": f"sha256:{order.source.manifest_sha256}",
        "tuning": _with_evaluation(order, tuning),
        "dataset_digest": None if order.optimizing.evaluation else manifest["datasetDigest"],
        "licence": manifest["baseModel"].get("licence"),
        "ask": asking.read(folder / part),
        "began": began_of(source.store),
        "custom_code": made_with_code(manifest),
    }
    if part == "model":
        return Fetched(model=folder / "model", method="full", **common)
    return Fetched(
        model=base_of(source, order), adapter=folder / "adapter", method=method, **common
    )


def _model(order: RunOrder, tuning: FineTuning) -> tuple[Path, str, str | None]:
    """(folder, digest, licence) of tuning.model."""
    spec = as_fine_tuning(order, tuning)
    found = cache.find(spec)
    folder = cache.local_folder(found, spec)
    return folder, cache.digest(folder, found), found.licence


def _by_uri(order: OptimizeOrder, folder: Path) -> Fetched:
    uri = order.source.uri
    model = ModelSource(uri=uri, revision=order.source_revision)
    placeholder = FineTuning(
        model=model,
        task="generation",
        dataset={"uri": uri},
        method=Method(type="full"),
        training=Training(max_steps=1),
    )
    try:
        local, digest, licence = _model(order, placeholder)
        adapterfit.check_files(local, uri, "source.modelUri")
        check_weights(local)
    except TrainerError as error:
        raise blaming(error, "source.modelUri") from error
    common: dict[str, Any] = {"uri": uri, "model": local, "licence": licence}
    tuning = _with_evaluation(order, placeholder) if order.optimizing.evaluation else None
    if not order.adapter_uri:
        return Fetched(
            digest=digest, method="full", tuning=tuning, ask=asking.read(local), **common
        )
    adapter = _adapter(order, order.adapter_uri, folder / "adapter")
    method = adapterfit.method_of(adapter, order.adapter_uri)
    if method in _NOT_MERGEABLE:
        raise _not_mergeable(method, "source.adapterUri")
    adapterfit.check(adapter, local, order.adapter_uri)
    total = hashlib.sha256(digest.encode())
    for name in sorted(path.name for path in adapter.iterdir()):
        total.update(hashlib.sha256((adapter / name).read_bytes()).digest())
    return Fetched(
        digest=f"sha256:{total.hexdigest()}",
        method=method,
        adapter=adapter,
        tuning=tuning,
        ask=asking.read(adapter),
        **common,
    )


def _adapter(order: OptimizeOrder, uri: str, folder: Path) -> Path:
    store = open_store(uri, order.storage, "source.adapterUri", order.file_roots)
    keys = {entry.key for entry in store.entries()}
    for name in _ADAPTER_FILES:
        if name not in keys:
            hint = f"name its folder {join(uri, 'adapter')}" if f"adapter/{name}" in keys else None
            raise TrainerError(
                ExitCode.NOT_FOUND,
                "AdapterNotFound",
                f"{join(uri, name)}: not there; "
                + (hint or "upload the folder that save_pretrained() wrote, or correct the URI"),
                "source.adapterUri",
            )
        store.download(name, folder / name)
    if ASK in keys:
        store.download(ASK, folder / ASK)
    return folder


def _with_evaluation(order: OptimizeOrder, tuning: FineTuning) -> FineTuning:
    """The rows and metrics that the order names in place of the run's own."""
    wanted = order.optimizing.evaluation
    if wanted is None:
        return tuning
    training = tuning.training.model_copy(update={"max_length": wanted.max_length, "loss": None})
    return tuning.model_copy(
        update={
            "task": wanted.task,
            "dataset": wanted.dataset,
            "training": training,
            "evaluation": part_of(wanted, Evaluation),
        }
    )


def _not_mergeable(method: str, param: str) -> TrainerError:
    return unsupported(
        "NotMergeable",
        f"the adapter is of the method {method}, whose virtual tokens are no change of weights: "
        "ONNX can't have them. Fine-tune with lora, ia3, adapter or full",
        param,
    )


def check_dataset(fetched: Fetched, digest: str) -> None:
    """Raises TrainerError (DatasetChanged) unless the rows are those that the run reported on."""
    if fetched.dataset_digest and digest != fetched.dataset_digest:
        raise data_error(
            "DatasetChanged",
            f"the data is {digest} now, but the FineTuneJob reported on {fetched.dataset_digest}; "
            "put the old data back, run it again, or name rows in evaluation",
            "evaluation",
        )
