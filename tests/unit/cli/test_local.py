"""A manifest as a run on this machine."""

from dataclasses import replace

from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB
from unit.cli.orders import PLACE, RESULT, build

from luthier_api.adapterbundle import Bundling
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_api.revision import bundle_hash, optimize_hash, shape_hash
from luthier_api.runspec import BundleOrder, OptimizeOrder, RunSpec
from luthier_api.tracking import Mlflow, Tracking


def test_the_revision_is_the_one_that_a_cluster_would_give() -> None:
    spec = FineTuneJobSpec.model_validate(FINE_TUNE_JOB["spec"])
    run_spec = build()
    assert run_spec.shape_hash == shape_hash(spec, "s3://artifacts/models")
    assert run_spec.run.revision == f"r1-{run_spec.shape_hash[:8]}"
    assert run_spec.output == f"file:///out/team-a/tone/{run_spec.run.revision}"


def test_a_second_start_is_the_same_run_and_another_place_another() -> None:
    first = build().run
    assert build(place=replace(PLACE, receiver="http://127.0.0.1:2", scratch_dir="/b")).run == first
    assert build(place=replace(PLACE, output="s3://bucket/x")).run.uid != first.uid
    assert build(place=replace(PLACE, owner="someone@else")).run.uid != first.uid
    assert build(training__maxSteps=5).run.revision != first.revision


def test_changed_code_is_another_revision() -> None:
    def revision(**keys: bytes) -> str:
        return build(config_maps={"code": keys} if keys else {}).run.revision

    assert revision(a=b"1", b=b"2") == revision(b=b"2", a=b"1")
    assert len({revision(), revision(a=b"1"), revision(a=b"2"), revision(b=b"1")}) == 4


def test_defaults_that_were_not_set_stay_out_of_the_hash() -> None:
    assert build(training__learningRate=2e-4).shape_hash == build().shape_hash


def test_what_is_optimised_is_the_result_that_was_found() -> None:
    order = build(OPTIMIZE_JOB)
    assert isinstance(order, OptimizeOrder)
    assert (order.run.kind, order.source) == ("OptimizeJob", RESULT.source)
    assert order.shape_hash == optimize_hash(Optimizing(), [RESULT.source], "s3://artifacts/models")
    newer = replace(RESULT, source=RESULT.source.model_copy(update={"manifest_sha256": "2" * 64}))
    assert build(OPTIMIZE_JOB, results={"tone": newer}).run.revision != order.run.revision


def test_a_training_goes_on_from_the_result_that_was_found() -> None:
    adapter = {"fineTuneJobRef": {"name": "tone"}}
    order = build(model__adapter=adapter)
    assert isinstance(order, RunSpec)
    assert order.start_from == RESULT.source
    newer = replace(RESULT, source=RESULT.source.model_copy(update={"manifest_sha256": "2" * 64}))
    again = build(model__adapter=adapter, results={"tone": newer})
    assert again.run.revision != order.run.revision


def test_a_model_and_an_adapter_by_uri() -> None:
    source = {
        "modelUri": "hf://org/model",
        "revision": "abc",
        "adapterUri": "file:///adapters/tone",
    }
    order = build(OPTIMIZE_JOB, source=source)
    assert isinstance(order, OptimizeOrder)
    assert order.source == SourceRef(uri="hf://org/model")
    assert (order.source_revision, order.adapter_uri) == ("abc", "file:///adapters/tone")
    taken = [SourceRef(uri="hf://org/model", revision="abc"), SourceRef(uri=order.adapter_uri)]
    assert order.shape_hash == optimize_hash(Optimizing(), taken, "s3://artifacts/models")


def test_a_bundle_of_a_result_and_a_folder() -> None:
    own = {"name": "own", "uri": "file:///adapters/own"}
    adapters = [*ADAPTER_BUNDLE["spec"]["adapters"], own]
    order = build(ADAPTER_BUNDLE, adapters=adapters)
    assert isinstance(order, BundleOrder)
    taken = {"tone": RESULT.source, "own": SourceRef(uri="file:///adapters/own")}
    assert {it.name: it.source for it in order.adapters} == taken
    bundling = Bundling.model_validate({"base": ADAPTER_BUNDLE["spec"]["base"]})
    assert order.shape_hash == bundle_hash(bundling, taken, "s3://artifacts/models")
    assert (order.previous, order.expendable) == (None, [])


def test_packages_before_are_built_on_and_kept_as_long_as_asked() -> None:
    own = build(ADAPTER_BUNDLE).output
    packages = [own, "file:///c", "file:///b", "file:///a"]
    order = build(ADAPTER_BUNDLE, packages=packages, keepLast=2)
    assert isinstance(order, BundleOrder)
    assert order.output == own  # what it is told to keep shapes no package
    assert (order.previous, order.expendable) == ("file:///c", ["file:///b", "file:///a"])


def test_a_server_that_the_manifest_does_not_name_is_the_machines() -> None:
    place = replace(PLACE, mlflow_uri="http://mlflow:5000")
    run = build(place=place, tracking={"mlflow": {"experiment": "tones"}})
    assert isinstance(run, RunSpec)
    assert run.tracking == Tracking(mlflow=Mlflow(uri="http://mlflow:5000", experiment="tones"))
    without = build(place=place)
    assert isinstance(without, RunSpec)
    assert without.tracking is None, "nothing is sent that nobody asked for"
