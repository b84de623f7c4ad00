"""Adapters, models and specs that no package can be built from: each is told why, once."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.places import WEIGHTS, Place, flipped, made, manifests, put, start_training, states
from e2e.runs import Json, Run

from luthier_cluster import Cluster
from luthier_cluster.errors import ClusterError
from luthier_demo import content

CONFIG = "adapter_config.json"


@pytest.fixture(scope="module")
def place(luthier: Cluster, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With a base that isn't finite, and spoilt adapters."""
    folder = tmp_path_factory.mktemp("refusals")
    with made(luthier, s3, "refusals", folder) as found:
        nan = not_finite(folder / "base", folder / "nan")
        content.upload(luthier, nan, "models", f"{found.tag}-nan")
        spoil(folder / "adapters" / "one", folder / "spoilt")
        content.upload(luthier, folder / "spoilt", "artifacts", found.tag)
        yield found


def not_finite(base: Path, folder: Path) -> Path:
    """The base with one weight that is no number."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def spoil(good: Path, place: Path) -> None:
    """Copies of an adapter, each spoilt in one way."""
    from safetensors.numpy import load_file, save_file

    def copy(name: str) -> Path:
        return Path(shutil.copytree(good, place / name))

    whole = (good / WEIGHTS).read_bytes()
    (copy("cut-off") / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    config = json.loads((good / CONFIG).read_text())
    (copy("wrong-rank") / CONFIG).write_text(json.dumps({**config, "r": 2 * config["r"]}))
    tensors = load_file(good / WEIGHTS)
    deeper = {key.replace(".layers.1.", ".layers.7."): value for key, value in tensors.items()}
    save_file(deeper, copy("deeper") / WEIGHTS, {"format": "pt"})
    next(value for key, value in tensors.items() if ".lora_B." in key)[0, 0] = float("nan")
    save_file(tensors, copy("not-finite") / WEIGHTS, {"format": "pt"})


@pytest.fixture(scope="module")
def copies(place: Place, hopeless: dict[str, Run]) -> None:
    """Two of a FineTuneJob's result: `other-base`, and `changed` with an adapter that is no longer
    what the manifest says."""
    run = start_training(place)
    run.wait("Ready", within=300)
    uri = run.status["artifact"]["uri"]
    for key in run.objects(f"{uri}/"):
        name = f"s3://artifacts/{key}".removeprefix(f"{uri}/")
        body = run.read(f"{uri}/{name}")
        put(place, f"{place.adapter('other-base')}/{name}", body)
        put(place, f"{place.adapter('changed')}/{name}", flipped(body) if WEIGHTS in name else body)


# name → reason, words of the remedy
SPOILT: dict[str, tuple[str, list[str]]] = {
    "other-base": ("WrongBase", ["train the adapter on this bundle's base"]),
    "cut-off": ("BrokenWeights", [WEIGHTS, "save the adapter again"]),
    "changed": ("DigestMismatch", [f"adapter/{WEIGHTS}", "run the FineTuneJob again"]),
    "wrong-rank": ("WrongRank", ["says rank 16", "configuration that it was saved with"]),
    "deeper": ("UnknownModule", ["layers.7", "train the adapter on this bundle's base"]),
    "not-finite": ("NotFinite", ["lora_B", "train the adapter again"]),
    "nowhere": ("FileMissing", [CONFIG, "save_pretrained"]),
}


@pytest.mark.usefixtures("copies")
def test_bad_adapters_are_left_out_each_for_its_own_reason(place: Place) -> None:
    skipping, failing = place.bundle("skipping"), place.bundle("failing")
    adapters = place.adapters("one", *SPOILT, "two")
    skipping.apply(adapters)
    failing.apply({**adapters, "onIncompatible": "Fail"})

    failed = failing.wait("Failed", within=180)
    assert failed["reason"] == "IncompatibleAdapter"
    assert "set onIncompatible to Skip" in failed["message"]
    # What isn't finite shows when it is converted: the others end the run before.
    seen = {name: reason for name, (reason, _) in SPOILT.items() if name != "not-finite"}
    for name, reason in seen.items():
        assert f"{name}: {reason}: " in failed["message"], failed["message"]
    assert states(failing) == {"one": "Pending", **seen, "not-finite": "Pending", "two": "Pending"}
    assert "current" not in failing.status
    assert not manifests(failing)
    assert len(failing.pods()) == 1, "no restarts"

    skipping.wait("Ready", within=180)
    told = {it["name"]: it for it in skipping.status["adapters"]}
    assert [name for name, it in told.items() if it["state"] == "Included"] == ["one", "two"]
    for name, (reason, words) in SPOILT.items():
        assert (told[name]["state"], told[name]["reason"]) == ("LeftOut", reason), told[name]
        for word in words:
            assert word in told[name]["message"], told[name]
    condition = skipping.condition("AdaptersCompatible")
    assert (condition["status"], condition["reason"]) == ("False", "AdaptersLeftOut")
    assert all(f"{name} ({reason})" in condition["message"] for name, (reason, _) in SPOILT.items())
    index = json.loads(skipping.read(f"{skipping.output_uri}/index.json"))
    assert [it["name"] for it in index["adapters"]] == ["one", "two"]
    assert {it["name"]: it["code"] for it in index["leftOut"]} == {
        name: reason for name, (reason, _) in SPOILT.items()
    }
    assert len(skipping.pods()) == 1


# name → what differs (a word in braces is an adapter), reason, words of the message
HOPELESS: dict[str, tuple[Callable[[Place], Json], str, list[str]]] = {
    "precision": (
        lambda _: {"precisions": ["fp16"]},
        "PrecisionNotSupported",
        ["precisions: fp16", "cpu", "fp32, int8, int4"],
    ),
    "device": (
        lambda _: {"precisions": ["int8"], "target": {"device": "dml"}},
        "PrecisionNotSupported",
        ["precisions: int8", "dml", "fp16, int4"],
    ),
    "half-a-file": (
        lambda place: {"source": {"adapterUri": place.adapter("cut-off")}},
        "BrokenSafetensors",
        ["source.adapterUri", WEIGHTS, "upload it again"],
    ),
    "other-model": (
        lambda place: {"source": {"adapterUri": place.adapter("deeper")}},
        "AdapterOfAnotherBase",
        ["source.adapterUri", "layers.7", "modelUri"],
    ),
    "wrong-rank": (
        lambda place: {"source": {"adapterUri": place.adapter("wrong-rank")}},
        "AdapterUnusable",
        ["source.adapterUri", "rank 16", "configuration that it was saved with"],
    ),
    "not-a-number": (
        lambda place: {"source": {"modelUri": f"{place.base}-nan"}},
        "SourceNotFinite",
        ["source", "-nan", "train it again"],
    ),
}


@pytest.fixture(scope="module")
def hopeless(place: Place) -> dict[str, Run]:
    """All of them, applied together."""
    runs = {name: place.optimize(name) for name in HOPELESS}
    for name, run in runs.items():
        run.apply(HOPELESS[name][0](place))
    return runs


@pytest.mark.parametrize("name", HOPELESS)
def test_what_cannot_be_built_fails_once(hopeless: dict[str, Run], name: str) -> None:
    _, reason, words = HOPELESS[name]
    run = hopeless[name]
    failed = run.wait("Failed", within=240)
    assert failed["reason"] == reason, run.story()
    for word in words:
        assert word in failed["message"], failed["message"]
    assert run.condition("Stalled")["reason"] == reason
    assert run.condition("GatesPassed")["status"] == "Unknown"
    assert len(run.pods()) == 1, "no restarts"
    assert not manifests(run)


def test_a_bundle_for_a_device_that_is_not_built_for_is_refused_at_apply(place: Place) -> None:
    run = place.bundle("elsewhere")
    with pytest.raises(ClusterError, match="bundles for cuda and dml aren't built yet"):
        run.apply({**place.adapters("one"), "target": {"device": "cuda"}})
