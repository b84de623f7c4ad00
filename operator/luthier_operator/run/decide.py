"""Observed → Plan: the first of an ordered list of checks that has something to say. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from luthier_operator.errors import Refusal
from luthier_operator.resources import Obj
from luthier_operator.run import checks
from luthier_operator.run.actions import Action, Delete, Ensure
from luthier_operator.run.checks import Situation
from luthier_operator.run.model import AnyObserved, Job, Revision
from luthier_operator.run.tidy import surplus

# It is found out within this time whether the cluster has Kueue.
KUEUE_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """What is wanted, and what is done about it now."""

    revision: Revision | None = None
    retry_token: str | None = None
    rerun_token: str | None = None
    job: Job | None = None  # of this revision and attempt
    ended: bool = False  # the status has its end already
    hold: Refusal | None = None  # why there is no Job, where there is none
    actions: tuple[Action, ...] = ()
    starts: bool = False  # pods may come of the actions that would not come without them
    beside: tuple[Action, ...] = ()  # errands: they hold up nothing of the run
    unsent: Mapping[str, Refusal] = field(default_factory=dict)  # by role: what was said to them
    later: tuple[str, ...] = ()  # settings that the next attempt will be made of
    again: float | None = None  # seconds until it is to be looked at again
    # Fields of the status that the decision rests on, and that no run tells.
    noted: Mapping[str, object] = field(default_factory=dict)

    @property
    def created(self) -> tuple[Obj, ...]:
        """The objects that are to be there."""
        return tuple(action.obj for action in self.actions if isinstance(action, Ensure))


def unreadable(observed: AnyObserved) -> Plan:
    """For a spec that an older schema let in. Its Job, if there is one, is left alone."""
    message = f"{observed.invalid}. Apply a corrected spec."
    return Plan(hold=Refusal(observed.invalid_reason, message, terminal=True))


def wait(observed: AnyObserved, hold: Refusal) -> Plan:
    """For a resource whose revision isn't known yet: whatever runs serves an older one."""
    return Plan(
        retry_token=observed.retry_token,
        rerun_token=observed.previous.rerun_token,
        hold=hold,
        actions=_stopped(observed, None),
    )


def plan_run(
    observed: AnyObserved,
    revision: Revision,
    token: str | None,
    *,
    refuse: Callable[[], Refusal | None],
    build: Callable[[], list[Obj]],
    settings: Callable[[], dict[str, str]],
) -> Plan:
    """The plan for the wanted revision.

    `refuse`: what the kind and luthier.yaml have against a new Job; `build`: the objects of its
    run, the Job last; `settings`: what they would be made of.
    """
    spec = observed.spec
    assert spec is not None
    job = next(
        (
            job
            for job in observed.jobs
            if (job.revision, job.attempt) == (revision.name, revision.attempt)
        ),
        None,
    )
    situation = Situation(observed, spec, revision, job, refuse, build, settings)
    step = next(step for check in checks.CHECKS if (step := check(situation)) is not None)
    return Plan(
        revision,
        token,
        observed.rerun_token or observed.previous.rerun_token,
        job,
        ended=step.ended,
        hold=step.hold,
        actions=(*_stopped(observed, job), *_tidied(situation), *step.actions),
        starts=step.starts,
        later=step.later,
        again=_looked_for_kueue(observed, job) or step.again,
    )


def _looked_for_kueue(observed: AnyObserved, job: Job | None) -> float | None:
    """When to look again, of a queued Job in a cluster that may not have Kueue at all."""
    queued = job is not None and job.queue is not None and job.suspended
    return KUEUE_SECONDS if queued and observed.kueue is None else None


def _stopped(observed: AnyObserved, current: Job | None) -> tuple[Action, ...]:
    """What serves an older revision or attempt is deleted. One that has ended stays for its TTL."""
    return tuple(
        Delete(job.resource, job.obj, f"{job.revision}, attempt {job.attempt} is wanted no more")
        for job in observed.jobs
        if job is not current and job.end is None and not job.deleting
    )


def _tidied(it: Situation) -> tuple[Action, ...]:
    """Older attempts are taken away in time, too: that they ended is why there is a newer one."""
    many = surplus(it.observed.jobs, it.job)
    older = (job for job in it.observed.jobs if job is not it.job and job not in many)
    return (
        *(Delete(job.resource, job.obj, "more have ended than are kept") for job in many),
        *(action for job in older for action in checks.tidied(it, job)),
    )
