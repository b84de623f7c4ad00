"""When a FineTuneJob's data is looked at, and when it is made anew."""

import json
from datetime import timedelta
from typing import Any

import pytest
from unit.operator.builders import reasons
from unit.operator.retraining_support import DIGEST, OTHER, RETRAIN, World, at

from luthier_api.retraining import RowChanges
from luthier_api.runspec import ProbeOrder, RunSpec
from luthier_operator.run.actions import Ensure


@pytest.fixture
def world() -> World:
    """Published on a Saturday at noon; looked at each night at three in Vienna."""
    world = World()
    world.publish()
    return world


def test_nothing_is_looked_at_before_its_time(world: World) -> None:
    assert world.created == [world.created[0]]
    assert world.retrain.next_probe is not None
    due = at(world.retrain.next_probe.removesuffix("Z"))
    assert at("2026-01-11T02:00:00") <= due <= at("2026-01-11T02:10:00")
    world.now = due - timedelta(seconds=1)
    world.steps()
    assert not world.looks
    world.now = due
    world.steps()
    assert len(world.looks) == 1


def test_it_is_on_the_queue_again_when_its_time_comes(world: World) -> None:
    world.now = at("2026-01-11T01:50:00")
    plan = world.step()
    assert plan.again is not None
    world.now += timedelta(seconds=plan.again)
    world.steps()
    assert len(world.looks) == 1


def test_a_look_costs_no_gpu_and_no_report(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    (job,) = world.looks
    order = world.order_of(job)
    assert isinstance(order, ProbeOrder)
    assert (order.role, order.gpus, order.progress) == ("probe", 0, None)
    assert order.dataset_digest == DIGEST
    assert world.status.artifact is not None
    assert order.output == world.status.artifact.uri


def test_unchanged_data_opens_no_revision(world: World) -> None:
    before = world.status
    world.go_to("2026-01-11T02:30:00")
    writes = world.writes
    world.end_look()
    assert world.status.revision == before.revision
    assert world.retrain.outcome == "Unchanged"
    assert world.retrain.against == before.revision
    assert world.retrain.last_probe == "2026-01-11T02:30:00Z"
    assert world.retrain.last_change is None
    assert world.retrain.slot == "2026-01-11T02:00:00Z"
    assert (world.retrain.next_probe or "").startswith("2026-01-12T02:0")
    assert world.writes == writes + 1
    assert not world.looks
    assert not world.runs
    assert world.status.phase == "Complete"
    assert world.status.in_use == before.in_use


def test_other_data_opens_the_next_revision_of_the_same_shape(world: World) -> None:
    first = world.status.revision
    assert first is not None
    world.go_to("2026-01-11T02:30:00")
    world.found_other()
    assert world.status.revision == "r2-" + first.partition("-")[2]
    assert (world.status.attempt, world.status.phase) == (1, "Pending")
    assert len(world.runs) == 1
    assert world.retrain.outcome == "Changed"
    assert world.retrain.dataset_digest == OTHER
    assert world.retrain.rows == RowChanges(total=100, new=5, gone=2)
    assert "5 are new or changed, 2 are gone" in (world.retrain.message or "")
    assert world.retrain.last_change == "2026-01-11T02:30:00Z"
    assert world.status.in_use is not None
    assert world.status.in_use.revision == first
    assert reasons(world.status)["Ready"] == "True Updating"
    assert not world.looks
    world.end_run(digest=OTHER)
    assert world.status.phase == "Complete"
    assert world.status.in_use is not None
    assert world.status.in_use.revision == world.status.revision
    assert [it.revision for it in world.status.history] == [first]
    world.wait(hours=1)
    assert len(world.created) == 3  # two runs and a look


def test_a_look_that_fails_disturbs_nothing(world: World) -> None:
    before = world.status
    world.go_to("2026-01-11T02:30:00")
    error = {"code": "MalformedRow", "message": "train.jsonl:7: not JSON", "param": "dataset.uri"}
    world.end_look(65, error=error, datasetDigest=None)
    assert world.retrain.outcome == "Failed"
    assert world.retrain.message == "MalformedRow: dataset.uri: train.jsonl:7: not JSON"
    assert world.status.conditions == before.conditions
    assert world.status.in_use == before.in_use
    assert world.status.revision == before.revision
    world.wait(hours=1)
    assert not world.looks  # not before the next night
    world.go_to("2026-01-12T02:30:00")
    assert len(world.looks) == 1


def test_a_pod_that_leaves_no_word_is_told_of(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    (job,) = world.looks
    world.end(job, 137)
    world.steps()
    assert world.retrain.outcome is None  # its message may still come
    world.wait(minutes=1)
    assert world.retrain.outcome == "Failed"
    assert "left no word" in (world.retrain.message or "")
    assert not world.looks


def test_an_outcome_is_taken_whichever_step_an_operator_dies_in(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    (job,) = world.looks
    told = {"revision": "r1", "attempt": 1, "outcome": "Succeeded", "changed": True}
    world.end(job, 0, json.dumps(told | {"datasetDigest": OTHER}))
    for _ in range(3):  # the run's Job is created, and nothing is written
        world.step(written=False)
    assert len(world.runs) == 1
    assert len(world.looks) == 1  # what isn't on record stays
    world.steps()
    assert (world.status.revision or "").startswith("r2-")
    assert len(world.created) == 3
    assert not world.looks


def test_a_look_that_was_begun_is_found_again(world: World) -> None:
    world.now = at("2026-01-11T02:30:00")
    world.step(written=False)
    world.step(written=False)
    world.steps()
    assert len(world.created) == 2


@pytest.mark.parametrize("slot", ["tomorrow", "2026-01-11", "9999-12-31T23:59:59Z", ""])
def test_what_somebody_else_wrote_on_a_look_stops_nothing(world: World, slot: str) -> None:
    world.go_to("2026-01-11T02:30:00")
    (job,) = world.looks
    about = f"{world.status.revision} {slot} "
    job["metadata"]["annotations"]["luthier.dev/errand"] = about
    world.steps()
    for look in world.looks:
        world.end(look, 0, "no JSON")
    world.wait(minutes=1)
    world.go_to("2026-01-12T02:30:00")
    assert world.looks


def test_of_missed_times_only_the_latest_is_made_up_for(world: World) -> None:
    world.go_to("2026-01-15T14:00:00")
    assert len(world.looks) == 1
    world.end_look()
    assert world.retrain.slot == "2026-01-15T02:00:00Z"
    world.wait(hours=1)
    assert len(world.created) == 2


def test_a_time_that_comes_while_a_run_goes_on_waits_for_its_end(world: World) -> None:
    world.edit(training={"maxSteps": 7})
    assert len(world.runs) == 1
    world.go_to("2026-01-11T02:30:00")
    world.go_to("2026-01-12T02:30:00")
    assert not world.looks
    assert len(world.runs) == 1
    world.end_run()
    assert len(world.looks) == 1
    assert world.retrain.slot == "2026-01-10T02:00:00Z"
    world.end_look()
    assert world.retrain.slot == "2026-01-12T02:00:00Z"
    assert not world.runs


def test_while_time_passes_nothing_is_written(world: World) -> None:
    world.edit(training={"maxSteps": 7}, retrain={"schedule": "* * * * *"})
    writes = world.writes
    for _ in range(10):
        world.wait(minutes=1)
    assert world.writes == writes


def test_a_spec_edited_while_a_look_goes_on(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.edit(training={"maxSteps": 7})
    assert not world.looks  # nobody asks about the older one any more
    assert len(world.runs) == 1
    assert (world.status.revision or "").startswith("r2-")


def test_an_edit_of_the_thresholds_counts_for_the_look_that_goes_on(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.edit(retrain={**RETRAIN, "minNewRows": 500})
    world.found_other(new=499)
    assert world.retrain.outcome == "TooFewNew"
    assert not world.runs


def test_an_edited_schedule_begins_with_its_edit(world: World) -> None:
    world.go_to("2026-01-10T14:20:00")
    world.edit(retrain={"schedule": "0 14 * * *"})  # of today, in UTC: it was before the edit
    world.wait(minutes=15)
    assert not world.looks
    world.go_to("2026-01-11T14:11:00")
    assert len(world.looks) == 1


def test_a_missed_time_is_not_forgotten_for_another_edit(world: World) -> None:
    world.now = at("2026-01-11T05:00:00")
    world.edit(limits={"ttlSecondsAfterFinished": 60})
    assert len(world.looks) == 1


def test_a_schedule_that_is_taken_away_leaves_what_is_known(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.end_look()
    world.spec.pop("retrain")
    world.edit()
    assert world.retrain.last_probe == "2026-01-11T02:30:00Z"
    assert (world.retrain.schedule, world.retrain.next_probe) == (None, None)
    world.go_to("2026-02-11T02:30:00")
    assert not world.looks


def test_a_look_is_taken_away_with_its_schedule(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.spec.pop("retrain")
    world.edit()
    assert not world.looks


def test_suspended_it_is_left_alone_and_looked_at_once_when_it_goes_on(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    assert len(world.looks) == 1
    world.edit(suspend=True)
    assert not world.looks
    world.go_to("2026-01-13T05:00:00")
    assert not world.looks
    world.edit(suspend=False)
    assert len(world.looks) == 1
    world.end_look()
    assert world.retrain.slot == "2026-01-13T02:00:00Z"
    assert world.status.phase == "Complete"


def test_a_clock_that_is_set_back_repeats_nothing(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.end_look()
    world.go_to("2026-01-11T01:30:00")
    world.go_to("2026-01-11T02:30:00")
    assert len(world.created) == 2


def test_a_clock_that_was_a_year_ahead_stops_nothing(world: World) -> None:
    world.go_to("2027-01-11T02:30:00")
    world.end_look()
    assert world.retrain.slot == "2027-01-11T02:00:00Z"
    world.go_to("2026-01-11T12:00:00")
    assert world.retrain.slot == "2026-01-11T02:00:00Z"
    world.go_to("2026-01-12T02:30:00")
    assert len(world.looks) == 1


@pytest.mark.parametrize("begin", ["2026-03-22T12:00:00", "2026-10-18T12:00:00"])
def test_when_the_clock_changes_each_night_is_one(begin: str) -> None:
    """By an hour that comes never in spring, and twice in autumn."""
    world = World(begin, schedule="30 2 * * *", timeZone="Europe/Vienna")
    world.publish()
    nights = []
    for _ in range(14 * 4):
        world.wait(hours=6)
        if world.looks:
            nights.append(world.now.date())
            world.end_look()
    assert len(nights) == len(set(nights)) == 14


def test_two_operators_decide_the_same(world: World) -> None:
    world.now = at("2026-01-11T02:30:00")
    (first,) = world.plan().beside
    world.now += timedelta(seconds=20)  # the other one's clock
    (second,) = world.plan().beside
    assert isinstance(first, Ensure)
    assert first == second


def test_resources_of_one_schedule_come_at_times_of_their_own() -> None:
    from luthier_api.schedule import Slots

    due = {
        Slots("0 3 * * *", "UTC", f"uid-{n}").latest(at("2026-01-11T12:00:00")).due
        for n in range(50)
    }
    assert len(due) > 40


@pytest.mark.parametrize(
    ("asks", "new", "outcome"),
    [
        ({"minNewRows": 6}, 5, "TooFewNew"),
        ({"minNewRows": 5}, 5, "Changed"),
        # 100 rows of which 5 are new, and 2 are gone: there were 97.
        ({"minNewFraction": 0.06}, 5, "TooFewNew"),
        ({"minNewFraction": 0.05}, 5, "Changed"),
        ({}, 0, "Changed"),
    ],
)
def test_so_many_new_rows_are_worth_a_run(asks: dict[str, Any], new: int, outcome: str) -> None:
    world = World(**RETRAIN, **asks)
    world.publish()
    world.go_to("2026-01-11T02:30:00")
    world.found_other(new=new)
    assert world.retrain.outcome == outcome
    assert len(world.runs) == (outcome == "Changed")
    assert world.retrain.last_change == "2026-01-11T02:30:00Z"


def test_rows_that_nobody_could_count_are_enough() -> None:
    world = World(**RETRAIN, minNewRows=500)
    world.publish()
    world.go_to("2026-01-11T02:30:00")
    world.end_look(changed=True, datasetDigest=OTHER)
    assert world.retrain.outcome == "Changed"
    assert "no count" in (world.retrain.message or "")


def test_always_trains_without_a_look() -> None:
    world = World(**RETRAIN, when="Always")
    world.publish()
    world.go_to("2026-01-11T02:30:00")
    assert (world.status.revision or "").startswith("r2-")
    assert len(world.runs) == 1
    assert not world.looks
    assert world.retrain.last_probe is None
    world.go_to("2026-01-12T02:30:00")
    assert len(world.runs) == 1  # never two
    world.end_run()
    assert (world.status.revision or "").startswith("r3-")
    world.end_run()
    world.wait(hours=1)
    assert len(world.created) == 3


def test_a_failed_revision_is_made_anew_of_other_data_only(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.found_other()
    world.end_run(65, digest=OTHER, error={"code": "NoData", "message": "no rows"})
    assert world.status.phase == "Failed"
    second = world.status.revision
    world.go_to("2026-01-12T02:30:00")
    (job,) = world.looks
    order = world.order_of(job)
    assert isinstance(order, ProbeOrder)
    assert order.dataset_digest == OTHER
    assert order.output.endswith(f"/{second}")
    world.end_look()
    assert (world.status.revision, world.status.phase) == (second, "Failed")
    world.go_to("2026-01-13T02:30:00")
    world.found_other()
    assert (world.status.revision or "").startswith("r3-")
    assert world.status.in_use is not None
    assert world.status.in_use.revision.startswith("r1-")


def test_what_was_never_published_is_not_looked_at() -> None:
    world = World()
    world.steps()
    world.end_run(65)
    assert world.status.phase == "Failed"
    world.annotations["luthier.dev/retrain"] = "now"
    world.go_to("2026-01-12T02:30:00")
    assert not world.looks


def test_a_retry_while_a_look_goes_on_comes_first(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.found_other()
    world.end_run(65, digest=OTHER)
    world.go_to("2026-01-12T02:30:00")
    assert len(world.looks) == 1
    world.annotations["luthier.dev/retry"] = "again"
    world.steps()
    assert (world.status.attempt, len(world.runs)) == (2, 1)
    world.found_other()
    assert len(world.runs) == 1  # the look's outcome waits for the run's end
    world.end_run(65, digest=OTHER)
    assert (world.status.revision or "").startswith("r3-")
    assert len(world.runs) == 1


@pytest.mark.parametrize("retrain", [None, RETRAIN], ids=["without", "with a schedule"])
def test_asked_for_by_hand(retrain: dict[str, Any] | None) -> None:
    world = World()
    world.spec = {"retrain": retrain} if retrain else {}
    world.publish()
    world.annotations["luthier.dev/retrain"] = "monday"
    world.steps()
    assert len(world.looks) == 1
    world.end_look()
    assert (world.retrain.token, world.retrain.outcome) == ("monday", "Unchanged")
    world.wait(minutes=5)
    assert len(world.created) == 2
    world.annotations["luthier.dev/retrain"] = "tuesday"
    world.steps()
    world.found_other()
    assert world.retrain.token == "tuesday"
    assert (world.status.revision or "").startswith("r2-")


def test_what_the_first_run_reads_needs_no_look_for_its_annotation() -> None:
    world = World()
    world.annotations["luthier.dev/retrain"] = "from git"
    world.publish()
    world.wait(minutes=5)
    assert not world.looks


def test_asked_for_while_a_look_goes_on_it_is_looked_at_again(world: World) -> None:
    world.go_to("2026-01-11T02:30:00")
    world.annotations["luthier.dev/retrain"] = "now"
    world.steps()
    assert len(world.looks) == 1
    world.end_look()
    assert len(world.looks) == 1
    world.end_look()
    assert world.retrain.token == "now"
    world.wait(minutes=5)
    assert len(world.created) == 3


def test_a_long_token_is_one_token(world: World) -> None:
    world.annotations["luthier.dev/retrain"] = "x " * 500
    world.steps()
    world.end_look()
    world.wait(minutes=5)
    assert len(world.created) == 2


def test_what_is_in_use_is_gone_on_from_in_each_attempt() -> None:
    world = World(**RETRAIN, startFrom="InUse")
    world.publish()
    in_use = world.status.in_use
    assert in_use is not None
    world.go_to("2026-01-11T02:30:00")
    world.found_other()
    started = {"uri": in_use.uri, "revision": in_use.revision, "manifestSha256": "a" * 64}
    assert _start_of(world) == started
    world.end_run(1, digest=OTHER)
    # Meanwhile another revision is looked at, and the failed one is tried again.
    world.go_to("2026-01-12T02:30:00")
    world.end_look()
    world.annotations["luthier.dev/retry"] = "again"
    world.steps()
    assert world.status.attempt == 2
    assert _start_of(world) == started


def test_an_edit_begins_with_the_base(world: World) -> None:
    world.edit(retrain={**RETRAIN, "startFrom": "InUse"})
    world.edit(training={"maxSteps": 7})
    assert _start_of(world) is None


def _start_of(world: World) -> Any:
    (job,) = world.runs
    order = world.order_of(job)
    assert isinstance(order, RunSpec)
    return order.start_from.to_json() if order.start_from else None


def test_what_luthier_yaml_forbids_is_told_once_a_night(world: World) -> None:
    namespaces = {"*": {"allowed": {"sources": ["s3://elsewhere/"]}}}
    world.platform = type(world.platform).model_validate(
        world.platform.model_dump(by_alias=True) | {"namespaces": namespaces}
    )
    world.go_to("2026-01-11T02:30:00")
    assert not world.looks
    assert world.retrain.outcome == "Failed"
    assert "s3://" in (world.retrain.message or "")
    writes = world.writes
    world.wait(hours=2)
    assert world.writes == writes


def test_a_spec_that_no_look_can_carry_is_told(world: World) -> None:
    text = "{{ messages }}" + "𝄞" * 60_000
    dataset = {"uri": "s3://data/a.jsonl", "evalFraction": 0.1, "chatTemplate": {"text": text}}
    world.edit(dataset=dataset, task="generation")
    world.end_run()
    world.go_to("2026-01-11T02:30:00")
    assert not world.looks
    assert "too large" in (world.retrain.message or "")


@pytest.mark.parametrize(
    ("retrain", "field", "remedy"),
    [
        ({"schedule": "0 0 31 2 *"}, "spec.retrain.schedule", "names no time that ever comes"),
        ({"schedule": "0 10-5 * * *"}, "spec.retrain.schedule", "names no time that ever comes"),
        (
            {"schedule": "0 3 * * *", "timeZone": "Europe/Wien"},
            "spec.retrain.timeZone",
            "Europe/Vienna",
        ),
    ],
)
def test_a_schedule_that_never_comes_stalls(
    world: World, retrain: dict[str, Any], field: str, remedy: str
) -> None:
    before = world.status
    world.edit(retrain=retrain)
    assert reasons(world.status)["Stalled"] == "True InvalidSchedule"
    assert reasons(world.status)["Ready"] == "True UpdateFailed"
    (stalled,) = (it for it in world.status.conditions if it.type == "Stalled")
    assert field in stalled.message
    assert remedy in stalled.message
    assert world.status.in_use == before.in_use
    world.edit(retrain=RETRAIN)
    assert reasons(world.status)["Stalled"] == "False Completed"
    assert reasons(world.status)["Ready"] == "True Published"
    assert len(world.created) == 1


def test_with_such_a_schedule_nothing_begins() -> None:
    world = World(schedule="0 0 31 2 *")
    world.steps()
    assert not world.jobs
    assert reasons(world.status)["Ready"] == "False InvalidSchedule"


SEARCH = {
    "objective": {"metric": "accuracy"},
    "space": {"learningRate": {"type": "float", "low": 1e-5, "high": 1e-2}},
}


def searched(**search: Any) -> World:
    """Published by a search whose best learning rate is 0.002, and then found on other data."""
    world = World()
    world.spec["search"] = SEARCH | search
    world.spec["evaluation"] = {"metrics": ["accuracy"]}
    world.steps()
    best = {"number": 3, "state": "Complete", "value": 0.9, "settings": {"learningRate": "0.002"}}
    world.end_run(search={"trials": 10, "complete": 10, "best": best})
    world.go_to("2026-01-11T02:30:00")
    world.found_other()
    return world


def test_a_search_is_made_once_and_its_best_settings_are_gone_on_with() -> None:
    world = searched()
    for _ in range(2):
        assert world.retrain.settings == {"learningRate": "0.002"}
        (job,) = world.runs
        order = world.order_of(job)
        assert isinstance(order, RunSpec)
        assert order.fine_tuning.search is None
        assert order.fine_tuning.training.learning_rate == 0.002
        # The next one goes on with them, too.
        world.end_run(digest=OTHER)
        world.now += timedelta(days=1)
        world.steps()
        world.found_other()


def test_a_search_is_made_again_where_that_is_asked_for() -> None:
    world = searched(again=True)
    (job,) = world.runs
    order = world.order_of(job)
    assert isinstance(order, RunSpec)
    assert order.fine_tuning.search is not None
    assert world.retrain.settings == {}
