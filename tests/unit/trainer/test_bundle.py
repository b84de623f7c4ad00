"""Whole bundles on a tiny model: built and proven, taken over from the package before, run."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from unit.trainer.bundle_support import (
    ALL,
    SHAPES,
    MakeOrder,
    index_of,
    make_adapter,
    make_base,
    order_maker,
    package_of,
)
from unit.trainer.support import spec_maker
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_api.optimizejob import SourceRef
from luthier_api.result import BundleResult, ExitCode
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle import adapterfile, graph, proof
from luthier_trainer.bundle.previous import Previous, read_previous
from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.errors import TrainerError
from luthier_trainer.run import Run

pytestmark = pytest.mark.timeout(1800)

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
        return package_of(self.order)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Built:
    place = tmp_path_factory.mktemp("bundle")
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


@pytest.fixture(autouse=True)
def _nothing_hidden(nothing_hidden: None) -> None:
    """onnxruntime-genai and peft are imported by the tests themselves."""


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


def test_every_adapter_is_in_it_and_proven(built: Built) -> None:
    ends = {end.name: end.included for end in built.result.adapters}
    assert ends == dict.fromkeys([*SHAPES, "colours"], True)
    summary = built.result.proof
    assert summary
    assert (summary.adapters, summary.rebuilt, summary.isolated) == (6, 6, True)
    assert summary.logits_difference is not None
    assert summary.logits_difference <= 1e-3
    index = index_of(built.order)
    for part in index["adapters"]:
        found = part["proof"]
        assert found["isolated"] is True
        assert found["logitsDifference"] <= 1e-3
        assert found["effect"] > 100 * found["logitsDifference"]  # it would show otherwise
        assert found["kept"] == pytest.approx(1, abs=1e-3)
    ranks = {part["name"]: part["ranks"] for part in index["adapters"]}
    assert ranks["patterns"] == [4, 8, 12]
    assert ranks["stabilized"] == [16]
    one = next(part for part in index["adapters"] if part["name"] == "one-layer")
    assert (one["layers"], one["targetModules"]) == (1, ["o_proj", "up_proj"])


def test_the_manifest_is_true_to_the_files(built: Built) -> None:
    manifest = json.loads((built.package / "manifest.json").read_text())
    assert built.result.artifact
    assert built.result.artifact.uri == built.order.output
    lying = {
        path.relative_to(built.package).as_posix()
        for path in built.package.rglob("*")
        if path.is_file()
    }
    bookkeeping = {"manifest.json", "claim.json"}
    assert {key for key in lying - bookkeeping if not key.startswith("attempts/")} == set(
        manifest["files"]
    )
    for key, file in manifest["files"].items():
        data = (built.package / key).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
    assert manifest["result"]["outcome"] == "Succeeded"
    assert manifest["run"]["kind"] == "AdapterBundle"


def test_plain_genai_answers_as_peft_does(built: Built) -> None:
    ids, genai = ids_of(built), Genai(built.package)
    adapters = {**built.adapters, "colours": Path(built.trained.uri[7:]) / "adapter"}
    answers = {name: genai.logits(ids, name) for name in adapters}
    for name, folder in adapters.items():
        wanted = by_peft(built, ids, folder)
        assert np.abs(answers[name] - wanted).max() <= 1e-3
        others = [answers[other] for other in adapters if other != name]
        assert min(np.abs(other - wanted).max() for other in others) > 1e-2


def test_without_an_adapter_the_base_answers(built: Built) -> None:
    ids = ids_of(built)
    assert np.abs(Genai(built.package).logits(ids) - by_peft(built, ids)).max() <= 1e-3


def test_nothing_leaks_from_one_adapter_to_the_next(built: Built) -> None:
    ids, genai = ids_of(built), Genai(built.package)
    names = [None, *SHAPES, "colours"]
    before = {name: genai.logits(ids, name) for name in names}
    for first in names:
        for second in names:
            genai.logits(ids[: len(ids) // 2], first)
            assert np.array_equal(genai.logits(ids, second), before[second])


def test_the_adapter_of_a_run_keeps_its_metric(built: Built) -> None:
    parts = {part["name"]: part for part in index_of(built.order)["adapters"]}
    found = parts["colours"]["proof"]["measured"]
    manifest = json.loads((Path(built.trained.uri[7:]) / "manifest.json").read_text())
    reported = manifest["result"]["evaluation"]["tuned"]["accuracy"]
    assert (found["metric"], found["split"], found["examples"]) == ("accuracy", "test", 30)
    assert found["reported"] == reported
    assert found["value"] == pytest.approx(reported)
    assert parts["colours"]["baseVerified"] is True
    assert parts["plain"]["baseVerified"] is False
    assert "manifest" in parts["plain"]["proof"]["notMeasured"]


LOADER = """
import json, sys
from luthier_bundle import Bundle
bundle = Bundle(".")
options = {"max_new_tokens": 8}
said = {str(name): bundle.generate(name, "Text: 7 meadow", **options)
        for name in [None, *bundle.adapters, "plain", None]}
said["chat"] = bundle.generate("plain", [{"role": "user", "content": "hello"}], **options)
said["long"] = bundle.generate("plain", "Text: 7", max_new_tokens=10_000)
said["pieces"] = list(bundle.stream("plain", "Text: 7 meadow", **options))
try:
    bundle.generate("nobody", "x")
except KeyError as error:
    said["missing"] = str(error)
print(json.dumps(said), bundle.adapters)
sys.stdout.flush()
print("luthier_trainer" in sys.modules, "torch" in sys.modules)
"""


def test_the_loader_in_the_package_needs_nothing_of_ours(built: Built, tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(built.package, copy)
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        cwd=copy,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line, imported = done.stdout.strip().splitlines()
    said, _ = json.JSONDecoder().raw_decode(line)
    assert imported == "False False"
    assert "".join(said["pieces"]) == said["plain"]
    assert said["chat"]
    assert said["long"]  # it ends where the model's context does
    assert "there are plain" in said["missing"]
    assert len({said[name] for name in ("None", "plain", "stabilized")}) == 3
    assert said["plain"] == _continued(built, "Text: 7 meadow", 8)


def _continued(built: Built, text: str, count: int) -> str:
    """Greedily, by peft; its tokens in the package's words."""
    import onnxruntime_genai as og
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built.base)
    ids: list[int] = tokenizer(text)["input_ids"]
    stream = og.Tokenizer(og.Model(str(built.package / "model"))).create_stream()
    words = []
    for _ in range(count):
        ids.append(int(by_peft(built, ids, built.adapters["plain"])[-1].argmax()))
        words.append(stream.decode(ids[-1]))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return "".join(words)


def test_the_readme_names_adapters_and_both_ways(built: Built) -> None:
    text = (built.package / "README.md").read_text()
    for words in ("`colours`", "accuracy", "from luthier_bundle import Bundle", "og.Generator("):
        assert words in text


def test_a_finished_bundle_gives_its_result_again(built: Built) -> None:
    again = BundleRun(built.order).execute()
    assert again.artifact == built.result.artifact
    assert again.adapters == built.result.adapters


# From here on with the package before.


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What is really done: bases built, adapter files written, adapters proven."""
    done: dict[str, list[str]] = {"built": [], "written": [], "proven": []}
    build, write, prove = graph.build, adapterfile.write, proof.prove_likeness

    def building(base: Path, *rest: Any) -> None:
        done["built"].append(str(base))
        build(base, *rest)

    def writing(parameters: Any, path: Path) -> None:
        done["written"].append(path.stem)
        write(parameters, path)

    def proving(candidates: Any, *rest: Any) -> Any:
        done["proven"] += [candidate.name for candidate in candidates]
        return prove(candidates, *rest)

    monkeypatch.setattr(graph, "build", building)
    monkeypatch.setattr(adapterfile, "write", writing)
    monkeypatch.setattr("luthier_trainer.bundle.assemble.prove_likeness", proving)
    return done


def parts_of(order: BundleOrder) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in index_of(order)["adapters"]}


def test_only_what_changed_is_built_and_proven(
    built: Built, tmp_path: Path, work: dict[str, list[str]]
) -> None:
    newer = make_adapter(built.base, tmp_path / "newer", seed=7, **SHAPES["narrow"])
    order = built.make(
        {**built.sources, "narrow": newer},
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=built.order.output,
    )
    result = BundleRun(order).execute()

    assert work == {"built": [], "written": ["narrow"], "proven": ["narrow"]}
    assert result.proof
    assert (result.proof.adapters, result.proof.rebuilt) == (6, 1)
    before, now = parts_of(built.order), parts_of(order)
    assert {name for name in now if now[name] != before[name]} == {"narrow"}
    assert index_of(order)["base"] == index_of(built.order)["base"]
    # It stands alone: the package before isn't needed any more.
    genai, ids = Genai(package_of(order)), ids_of(built)
    assert np.abs(genai.logits(ids, "narrow") - by_peft(built, ids, newer)).max() <= 1e-3
    plain = by_peft(built, ids, built.adapters["plain"])
    assert np.abs(genai.logits(ids, "plain") - plain).max() <= 1e-3
    manifest = json.loads((package_of(order) / "manifest.json").read_text())
    for key, file in manifest["files"].items():
        data = (package_of(order) / key).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]


def test_names_and_members_change_without_any_building(
    built: Built, tmp_path: Path, work: dict[str, list[str]]
) -> None:
    order = built.make(
        {"renamed": built.adapters["plain"], "colours": built.trained},
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=built.order.output,
    )
    result = BundleRun(order).execute()
    assert work == {"built": [], "written": [], "proven": []}
    assert result.proof
    assert (result.proof.adapters, result.proof.rebuilt) == (2, 0)
    assert set(parts_of(order)) == {"renamed", "colours"}
    ids = ids_of(built)
    wanted = by_peft(built, ids, built.adapters["plain"])
    assert np.abs(Genai(package_of(order)).logits(ids, "renamed") - wanted).max() <= 1e-3


def test_a_base_that_was_overwritten_is_built_anew(
    built: Built, tmp_path: Path, work: dict[str, list[str]]
) -> None:
    before = tmp_path / "before"
    shutil.copytree(built.package, before)
    data = before / "model" / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[1000] ^= 255
    data.write_bytes(bytes(content))
    newer = make_adapter(built.base, tmp_path / "newer", seed=7, **SHAPES["narrow"])
    order = built.make(
        {"plain": built.adapters["plain"], "narrow": newer},
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=f"file://{before}",
    )
    BundleRun(order).execute()
    assert len(work["built"]) == 1
    assert work["proven"] == ["narrow"]
    ids, genai = ids_of(built), Genai(package_of(order))
    for name, folder in {"plain": built.adapters["plain"], "narrow": newer}.items():
        assert np.abs(genai.logits(ids, name) - by_peft(built, ids, folder)).max() <= 1e-3


def test_only_whole_parts_are_taken_over(built: Built, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(built.package, before)
    index = index_of(built.order)
    parts = parts_of(built.order)

    def previous() -> Previous | None:
        return read_previous(f"file://{before}", built.order)

    whole = previous()
    assert whole
    assert whole.base(index["base"]["key"])
    assert whole.base("another key") is None
    assert whole.adapter(parts["plain"]["key"])

    data = before / "model" / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    (before / parts["plain"]["file"]).unlink()
    half = previous()
    assert half
    assert half.base(index["base"]["key"]) is None
    assert half.adapter(parts["plain"]["key"]) is None
    assert half.adapter(parts["narrow"]["key"])

    text = (before / "index.json").read_text()
    (before / "index.json").write_text(text.replace("narrow", "broad"))
    assert previous() is None  # it isn't what was published
    (before / "index.json").write_text(text)
    (before / "manifest.json").unlink()
    assert previous() is None
    assert read_previous(None, built.order) is None


def test_one_that_fails_its_proof_is_left_out_and_not_tried_again(
    built: Built, tmp_path: Path, work: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = make_adapter(built.base, tmp_path / "newer", seed=7, **SHAPES["stabilized"])
    sources = {"plain": built.adapters["plain"], "wrong": newer}
    order = built.make(
        sources,
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=built.order.output,
    )
    with monkeypatch.context() as patch:
        patch.setattr(adapterfile, "scaling", lambda config, module: 1.01)  # alpha/√r is 4
        result = BundleRun(order).execute()
    ends = {end.name: end for end in result.adapters}
    assert ends["plain"].included
    assert (ends["wrong"].included, ends["wrong"].code) == (False, "NotEqual")
    assert not (package_of(order) / "adapters" / "wrong.onnx_adapter").exists()
    assert work["proven"] == ["wrong"]

    third = built.make(
        sources, output=f"file://{tmp_path}/answers/r3-00000000", previous=order.output
    )
    again = BundleRun(third).execute()
    assert work["proven"] == ["wrong"]
    assert {end.name: end.code for end in again.adapters} == {"plain": None, "wrong": "NotEqual"}


def test_one_that_lost_of_its_metric_is_left_out(built: Built, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(built.trained.uri[7:], run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["result"]["evaluation"]["tuned"]["accuracy"] += 0.2  # as if it had been better
    data = json.dumps(manifest).encode()
    (run / "manifest.json").write_bytes(data)
    better = SourceRef(
        uri=f"file://{run}", revision="r1-0", manifest_sha256=hashlib.sha256(data).hexdigest()
    )
    # Another file of the same weights: nothing is taken over.
    weights = run / "adapter" / "adapter_config.json"
    config = {**json.loads(weights.read_text()), "lora_dropout": 0.5}
    weights.write_text(json.dumps(config))
    manifest["files"]["adapter/adapter_config.json"]["sha256"] = hashlib.sha256(
        weights.read_bytes()
    ).hexdigest()
    data = json.dumps(manifest).encode()
    (run / "manifest.json").write_bytes(data)
    better = better.model_copy(update={"manifest_sha256": hashlib.sha256(data).hexdigest()})

    def order(number: int, allowed: float, previous: str) -> BundleOrder:
        return built.make(
            {"plain": built.adapters["plain"], "better": better},
            bundling={"maxMetricDrop": allowed},
            output=f"file://{tmp_path}/answers/r{number}-00000000",
            previous=previous,
        )

    strict = order(2, 0.1, built.order.output)
    ends = {end.name: end for end in BundleRun(strict).execute().adapters}
    assert ends["better"].code == "MetricDropped"
    assert "maxMetricDrop" in (ends["better"].message or "")

    # What was measured counts for the next package too, whatever it allows.
    same = BundleRun(order(3, 0.15, strict.output)).execute()
    assert {end.name: end.code for end in same.adapters}["better"] == "MetricDropped"
    mild = BundleRun(order(4, 0.3, strict.output)).execute()
    assert {end.name: end.code for end in mild.adapters}["better"] is None
    back = BundleRun(order(5, 0.1, f"file://{tmp_path}/answers/r4-00000000")).execute()
    assert {end.name: end.code for end in back.adapters}["better"] == "MetricDropped"


def test_fail_builds_nothing(built: Built, tmp_path: Path, work: dict[str, list[str]]) -> None:
    bad = make_adapter(built.base, tmp_path / "dora", r=4, target_modules=ALL, use_dora=True)
    order = built.make(
        {"plain": built.adapters["plain"], "bad": bad},
        bundling={"onIncompatible": "Fail"},
        output=f"file://{tmp_path}/answers/r2-00000000",
    )
    run = BundleRun(order)
    with pytest.raises(TrainerError, match="bad: Dora") as raised:
        run.execute()
    assert raised.value.exit_code == ExitCode.UNSUPPORTED
    assert work == {"built": [], "written": [], "proven": []}
    assert [end.code for end in run.result("Failed", raised.value).adapters] == ["Dora"]
    assert not (package_of(order) / "manifest.json").exists()


def test_old_packages_go_once_the_new_one_is_there(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "answers"
    for name in ("r1-a", "r2-b", "r3-c", "r4-d"):
        shutil.copytree(built.package, place / name)
    shutil.copytree(built.package, tmp_path / "others" / "r1-a")
    foreign = json.loads((place / "r2-b" / "claim.json").read_text())
    (place / "r2-b" / "claim.json").write_text(json.dumps({**foreign, "uid": "another"}))
    expendable = [
        f"file://{place}/r4-d",  # in use
        f"file://{place}/r3-c",
        f"file://{place}/r2-b",  # another resource's
        f"file://{place}/r1-a",
        f"file://{place}/r0-gone",
        f"file://{tmp_path}/others/r1-a",  # not this bundle's place
        f"file://{place}",
    ]
    order = built.make(
        {"plain": built.adapters["plain"]},
        output=f"file://{place}/r5-e",
        previous=f"file://{place}/r4-d",
        expendable=expendable,
    )
    BundleRun(order).execute()
    left = {path.relative_to(place).parts[0] for path in place.rglob("*") if path.is_file()}
    assert left == {"r2-b", "r4-d", "r5-e"}
    assert (tmp_path / "others" / "r1-a" / "manifest.json").exists()
    assert (place / "r4-d" / "manifest.json").exists()
