"""Where a run goes, and when to give it up."""

from pydantic import Field

from luthier_api.meta import Model, Name, Rule


class Placement(Model):
    """Where a run goes. Nodes and images are the pool's, not the user's."""

    pool: Name | None = Field(
        default=None, description="Pool of luthier.yaml. Left out: the namespace's default."
    )
    gpus: int = Field(default=0, ge=0, le=16, description="GPUs of a pod.")
    nodes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Pods that train together, each with `gpus` GPUs. Above 1 the cluster needs "
        "JobSet.",
    )
    queue_name: Name | None = Field(
        default=None,
        description="LocalQueue of Kueue that admits the run. Left out: the one that the platform "
        "sets for the pool or namespace, if any.",
    )
    priority: Name | None = Field(
        default=None,
        description="WorkloadPriorityClass of Kueue: who comes first in the queue, and who may "
        "preempt whom.",
    )


def one_pod_rules(what: str) -> tuple[Rule, ...]:
    """Of a spec whose run is one process on one device. `what`: the run, as its user calls it."""
    return (
        Rule(
            "self.placement.nodes == 1",
            f"{what} runs in one pod: set placement.nodes to 1, or leave it out",
            field=".placement.nodes",
        ),
        Rule(
            "self.placement.gpus <= 1",
            f"{what} uses one GPU: set placement.gpus to 0 or 1",
            field=".placement.gpus",
        ),
    )


class Limits(Model):
    """When to give up, and when to tidy."""

    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="The run fails when it is older. Time spent pending counts; it starts anew "
        "after a suspension. Left out: the longest that the platform allows, if it says one.",
    )
    max_restarts: int = Field(
        default=5,
        ge=0,
        le=100,
        description="Pods that may fail before the run does. Disruptions (eviction, preemption) "
        "don't count.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="Remove the finished run's Job and pods after this time. The resource and its "
        "artifacts stay. Left out: the platform's default.",
    )
