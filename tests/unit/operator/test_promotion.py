"""What is in use is decided by promote: verdicts, pins and rollbacks."""

from unit.operator.builders import message, observed, reasons
from unit.operator.promotion_support import BETTER, UNSURE, Life, artifact, renumbered

from luthier_api.optimizejob import SourceRef
from luthier_api.runspec import RunSpec, read_order
from luthier_operator.finetunejob.decide import decide
from luthier_operator.run.sources import Awaited, Taken, source_of_job

IF_BETTER = {"when": "IfBetter", "metric": "accuracy"}


def two(promote: dict[str, str] | None = None) -> tuple[Life, str, str]:
    """A FineTuneJob with two results, the newer one in use; and their names."""
    life = Life(promote=promote) if promote else Life()
    first = life.run().revision
    second = life.train(200, gain=BETTER).revision
    assert first is not None
    assert second is not None
    assert life.in_use() == second
    return life, first, second


def test_without_a_word_on_it_the_newest_is_in_use() -> None:
    life, first, _second = two()
    assert "Promoted" not in reasons(life.status)
    assert life.status.in_use is not None
    assert life.status.in_use.since == "2026-01-02T03:04:05Z"
    assert life.status.in_use.metrics == {"accuracy": 0.9, "loss": 1}
    record = life.status.history[0]
    assert (record.revision, record.metrics["accuracy"]) == (first, 0.9)
    assert record.manifest_sha256


def test_a_better_one_is_promoted() -> None:
    life, _first, _second = two(IF_BETTER)
    assert reasons(life.status)["Promoted"] == "True Better"
    assert reasons(life.status)["Ready"] == "True Published"
    assert life.status.history[0].promoted == "First"
    # A look later changes nothing.
    before = life.status
    assert life.look() == before


def test_nothing_is_promoted_on_noise() -> None:
    life, _first, second = two(IF_BETTER)
    third = life.train(300, gain=UNSURE)
    assert life.in_use() == second
    now = reasons(third)
    assert now["Promoted"] == "False Undecided"
    assert now["Complete"] == "True Completed"
    assert now["Ready"] == "True NotPromoted"
    assert now["Stalled"] == "False Completed"
    assert "200 rows are too few" in message(third, "Ready")
    assert life.look() == third
    # The next is compared with what is in use, and may be promoted.
    life.edit(training={"maxSteps": 400})
    order = order_of(life)
    assert order.incumbent is not None
    assert order.incumbent.revision == second
    fourth = life.run(gain=BETTER)
    assert reasons(fourth)["Promoted"] == "True Better"
    assert life.in_use() == fourth.revision
    assert fourth.history[0].promoted == "Undecided"


def order_of(life: Life) -> RunSpec:
    job = decide(observed(life.obj)).created[-1]
    text = job["spec"]["template"]["metadata"]["annotations"]["luthier.dev/runspec"]
    order = read_order(text.encode())
    assert isinstance(order, RunSpec)
    return order


def test_the_trainer_is_told_who_decides() -> None:
    assert order_of(Life()).comes_into_use == "Always"
    assert order_of(Life(promote={"when": "Always"})).comes_into_use == "Always"
    for promote in (IF_BETTER, {"when": "Manual"}, {"atLeast": {"accuracy": 0.5}}):
        assert order_of(Life(promote=promote)).comes_into_use == "Never"
    life, *_ = two()
    life.edit(training={"maxSteps": 300})
    assert order_of(life).incumbent is None


def test_the_first_one_must_keep_the_gates() -> None:
    life = Life(promote={"atLeast": {"accuracy": 0.8}})
    now = life.run(0.7)
    assert now.in_use is None
    assert now.phase == "Complete"
    assert reasons(now)["Complete"] == "True Completed"
    assert reasons(now)["Ready"] == "False GatesNotMet"
    assert reasons(now)["Stalled"] == "True GatesNotMet"
    assert reasons(now)["Promoted"] == "False GatesNotMet"
    # A gate that is lowered lets it in, without a run.
    life.edit(promote={"atLeast": {"accuracy": 0.6}})
    assert life.in_use() == now.revision
    assert reasons(life.status)["Ready"] == "True Published"
    # And one that is raised takes nothing away.
    life.edit(promote={"atLeast": {"accuracy": 0.95}})
    assert life.in_use() == now.revision
    assert reasons(life.status)["Promoted"] == "True InUse"


def test_a_result_waits_for_its_pin() -> None:
    life = Life(promote={"when": "Manual"})
    now = life.run()
    assert reasons(now)["Ready"] == "False AwaitsPin"
    life.edit(promote={"when": "Manual", "pin": now.revision})
    assert life.in_use() == now.revision
    assert reasons(life.status)["Ready"] == "True Published"
    second = life.train(200)
    assert life.in_use() == now.revision
    assert reasons(second)["Ready"] == "True Pinned"
    # Without the pin nothing else comes.
    life.edit(promote={"when": "Manual"})
    assert life.in_use() == now.revision


def test_a_pin_rolls_back_and_its_removal_forth() -> None:
    life, first, second = two(IF_BETTER)
    pinned = life.edit(promote=IF_BETTER | {"pin": first})
    assert life.in_use() == first
    assert pinned.in_use is not None
    assert pinned.in_use.uri.endswith(f"/{first}")
    assert reasons(pinned)["Ready"] == "True Pinned"
    assert reasons(pinned)["Promoted"] == "False Pinned"
    assert reasons(pinned)["Complete"] == "True Completed"
    assert reasons(pinned)["Stalled"] == "False Completed"
    assert message(pinned, "Ready").startswith(f"{pinned.in_use.uri} stays in use.")
    assert life.look() == pinned
    life.edit(promote=IF_BETTER)
    assert life.in_use() == second


def test_a_rollback_by_a_pin_alone() -> None:
    life, first, second = two()
    life.edit(promote={"pin": first})
    assert life.in_use() == first
    # It moves while a newer one is made, too.
    life.edit(training={"maxSteps": 300})
    assert reasons(life.status)["Ready"] == "True Updating"
    life.edit(promote=None)
    assert life.in_use() == second


def test_a_pin_moves_what_is_in_use_after_a_failed_run() -> None:
    life, first, _second = two()
    failed = life.edit(training={"maxSteps": 300})
    conditions = [
        it.model_copy(update={"type": "Failed", "status": "True", "reason": "Because"})
        if it.type == "Running"
        else it
        for it in failed.conditions
        if it.type != "Reconciling"
    ]
    life.status = failed.model_copy(update={"conditions": conditions})
    now = life.edit(promote={"pin": first}, limits={"ttlSecondsAfterFinished": 5})
    assert life.in_use() == first
    assert reasons(now)["Ready"] == "True UpdateFailed"
    assert message(now, "Ready").startswith(f"{now.in_use.uri if now.in_use else ''} stays")


def test_a_pin_that_names_nothing_is_told_with_what_there_is() -> None:
    life, first, second = two()
    wrong = life.edit(promote={"pin": "r7-00000000"})
    assert life.in_use() == second
    assert reasons(wrong)["Promoted"] == "False PinNotFound"
    assert reasons(wrong)["Stalled"] == "True PinNotFound"
    assert reasons(wrong)["Ready"] == "True PinNotFound"
    for name in (first, second):
        assert name in message(wrong, "Promoted")
    # It heals with the pin.
    life.edit(promote={"pin": second})
    assert reasons(life.status)["Stalled"] == "False Completed"


def test_a_pin_of_what_is_being_made_waits_for_it() -> None:
    life, _first, second = two()
    life.edit(training={"maxSteps": 300})
    third = life.revision().name
    waits = life.edit(promote={"pin": third})
    assert reasons(waits)["Promoted"] == "False PinNotFound"
    assert "isn't published yet" in message(waits, "Promoted")
    assert life.in_use() == second
    life.run()
    assert life.in_use() == third


def test_a_result_that_is_found_again_is_the_one_that_was_made() -> None:
    life, first, _second = two()
    life.edit(training={"maxSteps": 100})
    third = life.revision()
    found = renumbered(third, 1)
    assert found.name == first
    now = life.run(artifact=artifact(found))
    assert now.revision == third.name
    assert reasons(now)["Complete"] == "True Completed"
    # It is the revision that made it: whoever took it then has the same source again.
    assert life.in_use() == first
    # Both names pin it.
    for name in (first, third.name):
        life.edit(promote={"pin": name})
        assert life.in_use() == first
        assert reasons(life.status)["Promoted"].startswith("True")


def test_a_result_elsewhere_is_none() -> None:
    life, first, _second = two()
    life.edit(training={"maxSteps": 300})
    other = artifact(renumbered(life.revision(), 1)) | {
        "uri": f"s3://artifacts/models/team/tone/{first}"
    }
    assert reasons(life.run(artifact=other))["Failed"] == "True ArtifactElsewhere"


def test_what_was_measured_beside_another_is_not_compared() -> None:
    life, first, _second = two(IF_BETTER)
    assert reasons(life.train(300, gain=BETTER))["Promoted"] == "True Better"
    third = life.in_use()
    life.edit(training={"maxSteps": 200})
    again = renumbered(life.revision(), 2)
    evaluation = {
        "tuned": {"accuracy": 0.8},
        "comparedWith": first,
        "gain": {"accuracy": BETTER},
    }
    now = life.run(artifact=artifact(again), evaluation=evaluation)
    assert reasons(now)["Promoted"] == "False NotCompared"
    assert life.in_use() == third


def test_followers_take_what_is_in_use_not_what_is_newest() -> None:
    life, first, second = two(IF_BETTER)
    life.train(300, gain=UNSURE)
    taken = source_of_job("team", "tone", life.obj, None)
    assert isinstance(taken, Taken)
    assert taken.ref.revision == second
    assert taken.outdated is None
    life.edit(promote=IF_BETTER | {"pin": first})
    rolled_back = source_of_job("team", "tone", life.obj, taken.ref)
    assert isinstance(rolled_back, Taken)
    assert rolled_back.ref.revision == first
    assert rolled_back.outdated is None


def test_followers_wait_for_what_comes_into_use() -> None:
    life = Life(promote={"atLeast": {"accuracy": 0.8}})
    life.run(0.7)
    waits = source_of_job("team", "tone", life.obj, None)
    assert isinstance(waits, Awaited)
    assert "none in use (GatesNotMet)" in waits.why.message
    assert not waits.why.terminal


def test_what_was_taken_of_a_deleted_job_stays_taken() -> None:
    uri = "s3://artifacts/models/team/tone/r1-00000001"
    ref = SourceRef(uri=uri, revision="r3-00000001", manifest_sha256="0" * 64)
    kept = source_of_job("team", "tone", None, ref)
    assert isinstance(kept, Taken)
    assert isinstance(source_of_job("team", "other", None, ref), Awaited)
