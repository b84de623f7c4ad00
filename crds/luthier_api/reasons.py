"""The reasons of conditions that the operator sets: one list, of which the reference is made.

What a trainer found wrong is a reason, too: its error's code (docs/finetunejob.md, When it fails).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A reason, and what it says."""

    name: str
    meaning: str


REASONS: dict[str, list[Reason]] = {}


def _of(heading: str, name: str, meaning: str) -> str:
    REASONS.setdefault(heading, []).append(Reason(name, meaning))
    return name


_LIFE = "Ready, Reconciling, Complete, Failed, Stalled, Running, Suspended"
COMPLETED = _of(_LIFE, "Completed", "The run of this spec succeeded.")
PUBLISHED = _of(_LIFE, "Published", "This spec's result is there, and in use.")
UPDATING = _of(_LIFE, "Updating", "An older result is in use while this spec's is made.")
UPDATE_FAILED = _of(_LIFE, "UpdateFailed", "An older result is in use: this spec's has failed.")
PROGRESSING = _of(_LIFE, "Progressing", "It goes on by itself.")
TRAINER_RUNNING = _of(_LIFE, "TrainerRunning", "A pod of the run works.")
FINISHED = _of(_LIFE, "Finished", "The run has ended.")
SUSPENDED = _of(_LIFE, "Suspended", "spec.suspend is true.")
SUSPENDING = _of(_LIFE, "Suspending", "spec.suspend is true, and the pod is still ending.")
NOT_PROMOTED = _of(
    _LIFE, "NotPromoted", "An older result stays in use: this spec's didn't come into use."
)
PINNED = _of(_LIFE, "Pinned", "promote.pin names the result that is in use.")
PIN_NOT_FOUND = _of(_LIFE, "PinNotFound", "promote.pin names no result that there is.")
RESUMED = _of(_LIFE, "Resumed", "spec.suspend is false again.")
INVALID_SPEC = _of(_LIFE, "InvalidSpec", "An older schema let in what this one can't read.")
INVALID_SCHEDULE = _of(
    _LIFE, "InvalidSchedule", "retrain.schedule names no time that comes, or timeZone no zone."
)

INVALID_SEARCH = _of(_LIFE, "InvalidSearch", "A search's space has what no trial could be.")

_ENDS = "Failed: how the run ended"
ARTIFACT_ELSEWHERE = _of(
    _ENDS, "ArtifactElsewhere", "The pod named a result outside its run's output; it isn't taken."
)
DEADLINE_EXCEEDED = _of(_ENDS, "DeadlineExceeded", "The Job was older than its deadline.")
JOB_FAILED = _of(_ENDS, "JobFailed", "The Job failed before any of its pods ended.")
NO_PROGRESS = _of(_ENDS, "NoProgress", "Pods died one after the other at the same place.")
OUT_OF_MEMORY = _of(_ENDS, "OutOfMemory", "The kernel ended the trainer for want of memory.")
RESULT_INCOMPLETE = _of(_ENDS, "ResultIncomplete", "The pod succeeded and named no result.")
RESULT_LOST = _of(_ENDS, "ResultLost", "The pod was removed before its result was read.")
RESULT_UNREADABLE = _of(_ENDS, "ResultUnreadable", "What the pod left can't be read.")
TOO_MANY_INTERRUPTIONS = _of(
    _ENDS, "TooManyInterruptions", "Pods ended as if interrupted, and nobody interrupted them."
)
TOO_MANY_RESTARTS = _of(_ENDS, "TooManyRestarts", "More pods failed than limits.maxRestarts.")
TRAINER_FAILED = _of(_ENDS, "TrainerFailed", "The trainer failed without an error of its own.")

_POLICY = "Scheduled, Stalled: what luthier.yaml doesn't allow"
CLAIM_NOT_ALLOWED = _of(_POLICY, "ClaimNotAllowed", "The claim isn't in `allowed.claims`.")
CONFIG_MAP_NOT_ALLOWED = _of(
    _POLICY, "ConfigMapNotAllowed", "The ConfigMap isn't in `allowed.configMaps`."
)
CUSTOM_CODE_NOT_ALLOWED = _of(
    _POLICY, "CustomCodeNotAllowed", "The namespace may not run code of its own."
)
TRACKER_NOT_ALLOWED = _of(
    _POLICY, "TrackerNotAllowed", "The tracking server isn't in `consent.trackers`."
)
TRACKER_NOT_NAMED = _of(_POLICY, "TrackerNotNamed", "Neither spec nor luthier.yaml names a server.")
DURATION_TOO_LONG = _of(
    _POLICY, "DurationTooLong", "limits.activeDeadlineSeconds is above `maxDurationSeconds`."
)
FILE_NOT_ALLOWED = _of(_POLICY, "FileNotAllowed", "A file:// outside the pool's `fileRoots`.")
OUTPUT_NOT_ALLOWED = _of(_POLICY, "OutputNotAllowed", "The output isn't in `allowed.outputs`.")
POOL_NOT_ALLOWED = _of(_POLICY, "PoolNotAllowed", "The namespace may not use that pool.")
POOL_NOT_FOUND = _of(_POLICY, "PoolNotFound", "There is no such pool.")
PRIORITY_NOT_ALLOWED = _of(
    _POLICY, "PriorityNotAllowed", "The priority isn't in `allowed.priorities`."
)
PRIORITY_WITHOUT_QUEUE = _of(
    _POLICY, "PriorityWithoutQueue", "placement.priority is for runs in a queue."
)
QUEUE_NOT_ALLOWED = _of(_POLICY, "QueueNotAllowed", "The queue isn't in `queues`.")
SECRET_NOT_ALLOWED = _of(_POLICY, "SecretNotAllowed", "The Secret isn't in `allowed.secrets`.")
SERVICE_ACCOUNT_NOT_ALLOWED = _of(
    _POLICY, "ServiceAccountNotAllowed", "The account isn't in `allowed.serviceAccounts`."
)
SOURCE_NOT_ALLOWED = _of(_POLICY, "SourceNotAllowed", "A source isn't below `allowed.sources`.")
TOO_MANY_GPUS = _of(_POLICY, "TooManyGpus", "placement.gpus is above the pool's `maxGpus`.")
TOO_MANY_NODES = _of(_POLICY, "TooManyNodes", "placement.nodes is above the pool's `maxNodes`.")
TOO_MANY_RUNS = _of(_POLICY, "TooManyRuns", "The namespace has `maxRuns`: it waits for its turn.")
POOL_FULL = _of(_POLICY, "PoolFull", "The pool has `maxRuns`: it waits for its turn.")

_KUEUE = "Scheduled: what Kueue says"
ADMITTED = _of(_KUEUE, "Admitted", "Kueue is about to start it.")
DEACTIVATED = _of(_KUEUE, "Deactivated", "Somebody set its Workload's spec.active to false.")
INADMISSIBLE = _of(_KUEUE, "Inadmissible", "Kueue can't admit it; the message says why.")
KUEUE_NOT_INSTALLED = _of(_KUEUE, "KueueNotInstalled", "Nobody admits runs of queues here.")
PREEMPTED = _of(_KUEUE, "Preempted", "Another run took its place; it comes again.")
QUEUED = _of(_KUEUE, "Queued", "It waits, and Kueue hasn't said for what.")
QUEUE_NOT_FOUND = _of(_KUEUE, "QueueNotFound", "The namespace has no such LocalQueue.")
QUEUE_NOT_READY = _of(_KUEUE, "QueueNotReady", "The queue's ClusterQueue isn't there, or active.")
QUEUE_STOPPED = _of(_KUEUE, "QueueStopped", "Somebody stopped the queue.")
QUOTA_TOO_SMALL = _of(_KUEUE, "QuotaTooSmall", "The queue's quota will never be enough.")
WAITING_FOR_ADMISSION_CHECKS = _of(
    _KUEUE, "WaitingForAdmissionChecks", "It has its quota, and waits for the queue's checks."
)
WAITING_FOR_QUOTA = _of(_KUEUE, "WaitingForQuota", "Others use the quota.")

_PLACE = "Scheduled: what else holds a run back"
CLAIM_NOT_FOUND = _of(_PLACE, "ClaimNotFound", "A PersistentVolumeClaim isn't there.")
CONFIG_MAP_KEY_NOT_FOUND = _of(_PLACE, "ConfigMapKeyNotFound", "A ConfigMap lacks a key.")
CONFIG_MAP_NOT_FOUND = _of(_PLACE, "ConfigMapNotFound", "A ConfigMap isn't there.")
CREATION_FORBIDDEN = _of(_PLACE, "CreationForbidden", "The API server refuses the Job or pod.")
IMAGE_PULL_FAILED = _of(_PLACE, "ImagePullFailed", "The node can't get the pool's image.")
JOB_REJECTED = _of(_PLACE, "JobRejected", "The API server can't take the Job as it is.")
JOB_SET_NOT_INSTALLED = _of(
    _PLACE, "JobSetNotInstalled", "A run of several nodes needs JobSet, which isn't there."
)
NAMESPACE_TERMINATING = _of(_PLACE, "NamespaceTerminating", "The namespace is being deleted.")
NODE_CLOCK_AHEAD = _of(
    _PLACE, "NodeClockAhead", "The next pod waits for the clock of the last one's node."
)
POD_SECURITY_VIOLATION = _of(
    _PLACE, "PodSecurityViolation", "The namespace's Pod Security level refuses the pod."
)
POD_TERMINATING = _of(_PLACE, "PodTerminating", "The pod's node doesn't end it.")
PRIORITY_CLASS_NOT_FOUND = _of(_PLACE, "PriorityClassNotFound", "The pool's isn't there.")
QUOTA_EXCEEDED = _of(_PLACE, "QuotaExceeded", "A ResourceQuota of the namespace is used up.")
REPLACING = _of(_PLACE, "Replacing", "A Job that hadn't started gives way to a changed one.")
SCHEDULED = _of(_PLACE, "Scheduled", "The pod has its node.")
SECRET_KEY_NOT_FOUND = _of(_PLACE, "SecretKeyNotFound", "A Secret lacks a key.")
SECRET_NOT_FOUND = _of(_PLACE, "SecretNotFound", "A Secret isn't there.")
SERVICE_ACCOUNT_NOT_FOUND = _of(_PLACE, "ServiceAccountNotFound", "It isn't there.")
STOPPING = _of(_PLACE, "Stopping", "What ran before has to stop first.")
SUSPENDED_ELSEWHERE = _of(_PLACE, "SuspendedElsewhere", "Somebody else suspended the Job.")
UNSCHEDULABLE = _of(_PLACE, "Unschedulable", "No node has room; the message is the scheduler's.")
VOLUME_MOUNT_FAILED = _of(_PLACE, "VolumeMountFailed", "The node can't mount a volume.")
WAITING_FOR_POD = _of(_PLACE, "WaitingForPod", "The pod isn't on a node yet.")

_SOURCES = "SourceReady, AdaptersReady, AdaptersCompatible"
ADAPTERS_LEFT_OUT = _of(_SOURCES, "AdaptersLeftOut", "Some don't fit; the message says which.")
ADAPTERS_NOT_READY = _of(_SOURCES, "AdaptersNotReady", "Some have no result yet.")
ALL_INCLUDED = _of(_SOURCES, "AllIncluded", "The package has all of them.")
ADAPTERS_ALL_READY = _of(_SOURCES, "Ready", "All have a result.")
NAMED = _of(_SOURCES, "Named", "The source is a URI.")
SOURCE_FAILED = _of(_SOURCES, "SourceFailed", "The FineTuneJob failed or is stalled.")
SOURCE_IS_ITSELF = _of(_SOURCES, "SourceIsItself", "A FineTuneJob can't go on from itself.")
SOURCE_NOT_FOUND = _of(_SOURCES, "SourceNotFound", "There is no such FineTuneJob.")
SOURCE_NOT_READY = _of(_SOURCES, "SourceNotReady", "The FineTuneJob has no result yet.")
TAKEN = _of(_SOURCES, "Taken", "What was taken before stays taken.")

_PROMOTED = "Promoted"
AWAITS_PIN = _of(_PROMOTED, "AwaitsPin", "promote.when is Manual: promote.pin has to name it.")
BETTER = _of(_PROMOTED, "Better", "The whole interval of the gain is above what is asked for.")
DIVERGED = _of(_PROMOTED, "Diverged", "The metric that decides is no number.")
IN_USE = _of(_PROMOTED, "InUse", "It is in use already, and stays so.")
FIRST = _of(_PROMOTED, "First", "Nothing was in use before it.")
METRIC_NOT_MEASURED = _of(_PROMOTED, "MetricNotMeasured", "The run didn't measure that metric.")
NEWEST = _of(_PROMOTED, "Newest", "promote.when is Always.")
NOT_BETTER = _of(_PROMOTED, "NotBetter", "The whole interval is below what is asked for.")
NOT_COMPARED = _of(_PROMOTED, "NotCompared", "It wasn't measured beside what is in use.")
UNDECIDED = _of(_PROMOTED, "Undecided", "The rows are too few to tell.")

_KEPT = "Kept"
IN_ORDER = _of(_KEPT, "InOrder", "in-use.json and keepRevisions are carried out.")
KEEP_FAILED = _of(_KEPT, "KeepFailed", "They aren't; the message says why. It is tried again.")

_INSIDE = "What is known of a run's inside"
EVALUATED = _of(_INSIDE, "Evaluated", "Base and tuned model are measured.")
GATES_NOT_MET = _of(_INSIDE, "GatesNotMet", "No candidate keeps all gates.")
INVALID = _of(_INSIDE, "Invalid", "Preflight refused the data.")
LEARNS_BY_HEART = _of(_INSIDE, "LearnsByHeart", "The loss on eval rises while training's falls.")
NEXT_ATTEMPT = _of(_INSIDE, "NextAttempt", "Changed settings come with the next attempt.")
NOT_MEASURED = _of(_INSIDE, "NotMeasured", "It isn't known yet, or never will be.")
NOT_REPRODUCIBLE = _of(_INSIDE, "NotReproducible", "Going on differs from never having stopped.")
PASSED = _of(_INSIDE, "Passed", "A candidate keeps all gates.")
NOT_TRACKED = _of(_INSIDE, "NotTracked", "A tracker doesn't have all of the run; it trains on.")
SAVED = _of(_INSIDE, "Saved", "There is a state to go on from.")
TRACKED = _of(_INSIDE, "Tracked", "The trackers have what the run has told.")
VALID = _of(_INSIDE, "Valid", "Preflight accepted the data.")

# Why nothing is done about a spec, whatever else it says.
UNREADABLE = (INVALID_SPEC, INVALID_SCHEDULE)


def reasons_page() -> str:
    """docs/reference/reasons.md."""
    lines = [
        "<!-- Generated by `python -m luthier_api.generate`. Don't edit. -->",
        "# Reasons of conditions",
        "",
        "What the operator gives as `reason`; the message beside it names what, where and the "
        "remedy.",
        "The codes of a trainer's errors are reasons of `Failed` and `DatasetValid`, too: "
        "[When it fails](../finetunejob.md#when-it-fails).",
    ]
    for heading, found in REASONS.items():
        lines += ["", f"## {heading}", "", "| reason | what it says |", "|---|---|"]
        lines += [f"| `{it.name}` | {it.meaning} |" for it in sorted(found, key=lambda it: it.name)]
    return "\n".join(lines) + "\n"
