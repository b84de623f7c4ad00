"""Faults that hit the build of a package or of a bundle: what was done is kept, nothing is
published by halves, and what can't heal says why and how, once."""

import hashlib
import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.runs import Json, Run, eventually
from e2e.test_methods import BASE, TEMPLATE, rows
from unit.trainer.bundle_support import SHAPES, make_adapter, make_base
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_api.runspec import RUNSPEC_PATH
from luthier_cluster import Cluster, processes
from luthier_cluster.errors import ClusterError
from luthier_demo import content, tenant

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# name → shape; the same base takes them all.
GOOD = {"one": "plain", "two": "narrow", "three": "stabilized", "four": "one-layer"}
PLACED: Json = {
    "output": {"uri": "s3://artifacts/packages"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 800},
}
OPTIMIZE: Json = {
    **PLACED,
    "precisions": ["fp32"],
    "benchmark": {"promptTokens": [16], "newTokens": 8, "repeats": 2},
}
BUNDLE: Json = {**PLACED, "precision": "fp32"}


@dataclass(frozen=True)
class Place:
    """A namespace, and what its runs read: in s3://models/TAG a base, whose adapters (good ones
    and spoilt ones) lie below s3://artifacts/TAG."""

    cluster: Cluster
    s3: Any
    namespace: str
    tag: str

    @property
    def base(self) -> str:
        return f"s3://models/{self.tag}"

    def adapter(self, name: str) -> str:
        return f"s3://artifacts/{self.tag}/{name}"

    def adapters(self, *names: str) -> Json:
        """Of a bundle's spec."""
        return {"adapters": [{"name": name, "uri": self.adapter(name)} for name in names]}

    def optimize(self, name: str) -> Run:
        """An OptimizeJob of the base."""
        spec = {**OPTIMIZE, "source": {"modelUri": self.base}}
        return Run(self.cluster, self.namespace, name, self.s3, spec, "OptimizeJob")

    def bundle(self, name: str) -> Run:
        """An AdapterBundle on the base, as yet without adapters."""
        spec = {**BUNDLE, "base": {"uri": self.base}}
        return Run(self.cluster, self.namespace, name, self.s3, spec, "AdapterBundle")


@pytest.fixture(scope="module")
def place(luthier: Cluster, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # Random: a kept cluster has the results of an earlier test run, which would be found.
    name = f"package-faults-{uuid.uuid4().hex[:6]}"
    found = Place(luthier, s3, name, name)
    folder = tmp_path_factory.mktemp("faults")
    base = make_base(folder / "base", tiny_tokenizer_of("llama"))
    content.upload(luthier, base, "models", found.tag)
    content.upload(luthier, not_finite(base, folder / "nan"), "models", f"{found.tag}-nan")
    for seed, (adapter, shape) in enumerate(GOOD.items()):
        make_adapter(base, folder / "adapters" / adapter, seed, **SHAPES[shape])
    spoil(folder / "adapters" / "one", folder / "adapters")
    shutil.copytree(folder / "adapters" / "two", folder / "adapters" / "brief")
    content.upload(luthier, folder / "adapters", "artifacts", found.tag)
    tenant.create(luthier, found.namespace)
    yield found
    luthier.kubectl("delete", "namespace", found.namespace, "--wait=false", check=False)
    luthier.kubectl("delete", "pv", f"host-files-{found.namespace}", "--wait=false", check=False)


def not_finite(base: Path, folder: Path) -> Path:
    """The base with one weight that is no number."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def spoil(good: Path, place: Path) -> None:
    """Copies of an adapter beside it, each spoilt in one way."""
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
def trained(place: Place) -> Run:
    """A FineTuneJob with a result, of another base; and two copies of that: `other-base`, and
    `changed` with an adapter that is no longer what the manifest says."""
    lines = "".join(json.dumps(row) + "\n" for row in rows(40))
    place.s3.put_object(Bucket="datasets", Key=f"{place.tag}/train.jsonl", Body=lines.encode())
    run = Run(place.cluster, place.namespace, "trained", place.s3, BASE)
    data = {**TEMPLATE["dataset"], "uri": f"s3://datasets/{place.tag}"}
    run.apply({"task": "classification", "dataset": data})
    run.wait("Ready", within=300)
    uri = run.status["artifact"]["uri"]
    for key in run.objects(f"{uri}/"):
        name = f"s3://artifacts/{key}".removeprefix(f"{uri}/")
        body = run.read(f"{uri}/{name}")
        put(place, f"{place.adapter('other-base')}/{name}", body)
        put(place, f"{place.adapter('changed')}/{name}", flipped(body) if WEIGHTS in name else body)
    return run


def put(place: Place, uri: str, body: bytes) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    place.s3.put_object(Bucket=bucket, Key=key, Body=body)


def flipped(body: bytes) -> bytes:
    """The same with another last byte."""
    return body[:-1] + bytes([body[-1] ^ 1])


@pytest.fixture(scope="module")
def bundle(place: Place) -> Run:
    """A bundle with a package in use."""
    run = place.bundle("voices")
    run.apply(place.adapters("one"))
    run.wait("Ready", within=300)
    return run


def trainer_of(run: Run, pod: str) -> int:
    """Process id of a pod's trainer, which alone is told the path of the order."""
    found = json.loads(run.kubectl("get", "pod", pod, "-o", "json"))
    return processes.in_pod(found["metadata"]["uid"], RUNSPEC_PATH)


@contextmanager
def stopped(run: Run, pod: str) -> Iterator[int]:
    """The trainer stands still where it is: what is done meanwhile hits it in the middle."""
    pid = trainer_of(run, pod)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def read_only(cluster: Cluster) -> Iterator[None]:
    """S3 refuses to write, for whatever key."""
    table = cluster.layout.config / "s3.json"
    before = table.read_text()
    document = json.loads(before)
    for identity in document["identities"]:
        identity["actions"] = ["Read", "List"]
    try:
        restart_s3(cluster, table, json.dumps(document))
        yield
    finally:
        restart_s3(cluster, table, before)


def restart_s3(cluster: Cluster, table: Path, rights: str) -> None:
    """S3 with that table of rights, which it reads when it starts."""
    cluster.stop("s3")
    table.write_text(rights)
    cluster.start("s3")


def stamps(run: Run, uri: str) -> dict[str, tuple[str, str]]:
    """Objects below a folder: key → content and time of the last write."""
    return {
        key: (entry["ETag"], str(entry["LastModified"])) for key, entry in run.objects(uri).items()
    }


def manifests(run: Run) -> set[str]:
    """URIs of the revisions that are published."""
    folder = run.output_uri.rpartition("/")[0]
    found = [key for key in run.objects(f"{folder}/") if key.endswith("/manifest.json")]
    return {f"s3://artifacts/{key.removesuffix('/manifest.json')}" for key in found}


def until_replaced(run: Run, before: str, within: float = 180) -> list[str]:
    """Wait for another package in use; the URIs of those that were in use meanwhile."""
    seen = []

    def replaced() -> bool:
        seen.append(run.status["current"]["uri"])
        return bool(seen[-1] != before)

    try:
        eventually(f"{run.name} has another package", replaced, within, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.story()}") from None
    return seen


def states(run: Run) -> dict[str, str]:
    """Of a bundle's adapters: the state, or why one is left out."""
    return {it["name"]: it.get("reason") or it["state"] for it in run.status["adapters"]}


def test_a_killed_run_goes_on_with_the_candidate_that_is_left(place: Place) -> None:
    run = place.optimize("left")
    run.apply({"precisions": ["int8", "fp32"]})
    first = run.wait_for_line("stage: Building fp32")
    os.kill(trainer_of(run, first), signal.SIGKILL)
    shelf = f"{run.output_uri.rpartition('/')[0]}/cache/"
    second = run.wait_for_line("int8: built and measured before", besides=first)
    kept = stamps(run, shelf)
    measured = [key for key in kept if "/measured-" in key]
    assert len(measured) == 2, "the source and int8"

    run.wait("Ready", within=180)
    after = stamps(run, shelf)
    assert {key: after.get(key) for key in kept} == kept, "written once"
    assert len([key for key in after if "/measured-" in key]) == 3
    log = run.log(second)
    assert "stage: Building int8" not in log
    assert "stage: Building fp32" in log
    status = run.status
    verdicts = {it["precision"]: it["verdict"] for it in status["candidates"]}
    assert verdicts == {"int8": "Chosen", "fp32": "Passed"}
    assert status["restarts"] == {"failures": 1, "disruptions": 0, "total": 1}
    spent = [
        json.loads(run.read(f"s3://artifacts/{key}"))["usage"]["cpuSeconds"]
        for key in run.objects(f"{run.output_uri}/attempts/")
    ]
    assert len(spent) == 2
    assert min(spent) > 0
    assert status["usage"]["cpuSeconds"] == pytest.approx(sum(spent), abs=0.11)
    assert len(run.jobs()) == 1


def test_a_killed_build_publishes_one_package(place: Place, bundle: Run) -> None:
    published, before = manifests(bundle), bundle.status["current"]["uri"]
    bundle.apply(place.adapters("one", "two"))
    first = bundle.wait_for_line("stage: Fetching")
    with stopped(bundle, first):
        assert bundle.output_uri != before
        assert manifests(bundle) == published
        assert bundle.status["current"]["uri"] == before
        assert bundle.condition("Ready")["reason"] == "Updating"
        bundle.kubectl("delete", "pod", first, "--grace-period=0", "--force")
    seen = until_replaced(bundle, before)
    assert set(seen) == {before, bundle.output_uri}
    assert manifests(bundle) == published | {bundle.output_uri}
    assert states(bundle) == {"one": "Included", "two": "Included"}
    assert bundle.status["restarts"]["total"] == 1
    revision = bundle.status["revision"]
    jobs = [job["metadata"]["labels"]["luthier.dev/revision"] for job in bundle.jobs()]
    assert jobs.count(revision) == 1


def test_a_spec_edited_in_mid_build_publishes_the_new_one_alone(place: Place, bundle: Run) -> None:
    published, before = manifests(bundle), bundle.status["current"]["uri"]
    bundle.apply(place.adapters("one", "three"))
    given_up = bundle.wait_for_line("stage: Fetching")
    old = bundle.status
    bundle.apply(place.adapters("one", "four"))
    seen = until_replaced(bundle, before)
    status = bundle.status
    assert set(seen) == {before, status["current"]["uri"]}
    assert status["current"]["uri"] == bundle.output_uri
    assert manifests(bundle) == published | {bundle.output_uri}
    assert status["history"][0]["revision"] == old["revision"] != status["revision"]
    assert status["history"][0]["outcome"] == "Superseded"
    assert "artifactUri" not in status["history"][0]
    assert old["jobName"] not in [job["metadata"]["name"] for job in bundle.jobs()]
    assert given_up not in [pod["metadata"]["name"] for pod in bundle.pods()]
    index = json.loads(bundle.read(f"{bundle.output_uri}/index.json"))
    assert [it["name"] for it in index["adapters"]] == ["one", "four"]
    assert states(bundle) == {"one": "Included", "four": "Included"}
    assert status["restarts"]["total"] == 0


def test_storage_and_an_adapter_gone_in_mid_build(place: Place) -> None:
    run = place.bundle("outage")
    run.apply(place.adapters("one", "brief"))
    pod = run.wait_for_line("stage: Building")
    # It was fetched before.
    for key in run.objects(f"{place.adapter('brief')}/"):
        place.s3.delete_object(Bucket="artifacts", Key=key)
    folder = run.output_uri
    manifest = f"{folder.removeprefix('s3://artifacts/')}/manifest.json"
    listing: set[str] = set()

    def published() -> bool:
        listing.clear()
        listing.update(run.objects(f"{folder}/"))
        return manifest in listing

    with ExitStack() as stack:
        place.cluster.stop("s3")
        stack.callback(place.cluster.start, "s3")
        run.wait_for_line("trying again for")
        assert "current" not in run.status
        stack.enter_context(stopped(run, pod))
        place.cluster.start("s3")
        assert not published()
    eventually("the bundle is published", published, within=120, every=0.01)
    files = json.loads(run.read(f"s3://artifacts/{manifest}"))["files"]
    whole = {f"{folder.removeprefix('s3://artifacts/')}/{name}" for name in files}
    assert whole <= listing, "the manifest comes last"
    run.wait("Ready", within=60)
    assert [it["metadata"]["name"] for it in run.pods()] == [pod], "the same pod went on"
    assert states(run) == {"one": "Included", "brief": "Included"}


def test_rights_lost_in_mid_build_are_told_once_and_restored(place: Place) -> None:
    run = place.optimize("denied")
    run.apply()
    pod = run.wait_for_line("stage: Measuring the source")
    with ExitStack() as stack:
        with stopped(run, pod):
            stack.enter_context(read_only(place.cluster))
        failed = run.wait("Failed", within=120)
    assert failed["reason"] == "StorageDenied", run.story()
    folder = run.output_uri.rpartition("/")[0]
    for word in ("output.uri", f"{folder}/cache", "/measured-", "denied", "storage.secretName"):
        assert word.lower() in failed["message"].lower(), failed["message"]
    assert run.condition("Stalled")["reason"] == "StorageDenied"
    assert [it["metadata"]["name"] for it in run.pods()] == [pod], "no restarts"
    assert not manifests(run)
    assert place.cluster.s3_secret_key not in run.story()

    run.retry()
    run.wait("Ready", within=120)
    assert manifests(run) == {run.output_uri}


def test_an_output_that_another_one_writes_is_left_alone(place: Place) -> None:
    """A bundle is deleted without its Job, and made again: both are to write the same folder."""
    run = place.bundle("twin")
    run.apply(place.adapters("two"))
    first = run.wait_for_line("stage: Loading")
    folder, uid = run.output_uri, run.get()["metadata"]["uid"]
    with stopped(run, first):
        run.kubectl("delete", "adapterbundle", "twin", "--cascade=orphan")
        run.apply(place.adapters("two"))
        failed = run.wait("Failed", within=60)
        assert run.output_uri == folder
    assert failed["reason"] == "OutputClaimed"
    owner = f"AdapterBundle {place.namespace}/twin (uid {uid})"
    for word in ("output.uri", folder, owner, "choose another output.uri"):
        assert word in failed["message"], failed["message"]
    assert len(run.pods()) == 2, "one of each"

    # The first one goes on, and publishes what the other one can take.
    eventually("the first is published", lambda: folder in manifests(run), within=120)
    theirs = stamps(run, f"{folder}/")
    digest = hashlib.sha256(run.read(f"{folder}/manifest.json")).hexdigest()
    run.retry()
    run.wait("Ready", within=60)
    assert run.status["current"] == {"uri": folder, "manifestSha256": digest}
    assert stamps(run, f"{folder}/") == theirs, "not a byte of it was written again"


def test_a_source_is_damaged_mended_and_deleted_in_mid_build(place: Place, trained: Run) -> None:
    weights = f"{trained.status['artifact']['uri']}/adapter/{WEIGHTS}"
    whole = trained.read(weights)
    put(place, weights, flipped(whole))
    run = place.optimize("follower")
    run.apply({"source": {"modelUri": None, "fineTuneJobRef": {"name": "trained"}}})
    failed = run.wait("Failed", within=60)
    assert failed["reason"] == "SourceDamaged"
    for word in ("source.fineTuneJobRef", weights, "run the FineTuneJob again"):
        assert word in failed["message"], failed["message"]
    assert len(run.pods()) == 1
    assert not manifests(run)

    put(place, weights, whole)
    run.retry()
    pod = run.wait_for_line("stage: Measuring the source")
    with stopped(run, pod):
        trained.delete()
        eventually(
            "it says that its source is gone",
            lambda: run.condition("SourceReady").get("reason") == "Taken",
            within=30,
        )
    run.wait("Ready", within=120)
    told = run.condition("SourceReady")
    assert told["status"] == "True"
    assert "There is no FineTuneJob trained" in told["message"]
    assert run.status["artifact"]["uri"] == run.output_uri


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


def test_bad_adapters_are_left_out_each_for_its_own_reason(place: Place, trained: Run) -> None:
    skipping, failing = place.bundle("skipping"), place.bundle("failing")
    adapters = place.adapters("one", *SPOILT, "two")
    skipping.apply(adapters)
    failing.apply({**adapters, "onIncompatible": "Fail"})

    failed = failing.wait("Failed", within=90)
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
    failed = run.wait("Failed", within=120)
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
