"""When a FineTuneJob is made anew although its spec asks for the same: looks at its data. Pure.

A look is an errand (run/errands.py) that is about a revision, a time of the schedule and a token of
`luthier retrain`. What it came to is recorded with the revision that it compared with: other data
than that of r4 asks for r5, for as long as r4 is the newest. So nothing of it is done twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from luthier_api.optimizejob import SourceRef
from luthier_api.result import ProbeResult
from luthier_api.retraining import Retrain, RetrainStatus, RowChanges
from luthier_api.revision import revision_name, revision_number
from luthier_api.runspec import ProbeOrder
from luthier_api.schedule import Slots
from luthier_api.sources import of_rows
from luthier_operator.conditions import shortened, timestamp
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.build import probe_order
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.run import errands
from luthier_operator.run.actions import Action, Ensure
from luthier_operator.run.errands import Wanted
from luthier_operator.run.model import Errand, JobEnd, Revision
from luthier_operator.run.revision import has_ended
from luthier_operator.run.standing import reference
from luthier_operator.run.status import in_use_of
from luthier_operator.run.workload import PROBE

# The clock may be set, and the queue's is another: it is looked at least so often.
LOOK_SECONDS = 3600.0
# The next reconciliation takes the Job of a recorded look away.
_RECORDED_SECONDS = 5.0
_MESSAGE = 1024
_TOKEN = 256


@dataclass(frozen=True)
class Look:
    """What is known of the data, and what comes of it."""

    status: RetrainStatus | None = None
    opens: Revision | None = None  # the revision that other data asks for
    actions: tuple[Action, ...] = ()  # about Jobs of looks
    again: float | None = None  # seconds until the next time of the schedule


@dataclass(frozen=True)
class _About:
    """What a look is about: its Job's annotation."""

    against: str
    slot: str
    token: str

    def __str__(self) -> str:
        return f"{self.against} {self.slot or '-'} {self.token}"

    @classmethod
    def parse(cls, text: str) -> "_About":
        against, _, rest = text.partition(" ")
        slot, _, token = rest.partition(" ")
        return cls(against, "" if slot == "-" else slot, token)


def look(observed: Observed, revision: Revision, refuse: Callable[[], Refusal | None]) -> Look:
    """`revision`: what spec and tokens ask for. `refuse`: what speaks against a run of it."""
    known = (observed.previous.retrain, observed.retrain_token, *observed.errands)
    if observed.spec is not None and observed.spec.retrain is None and not any(known):
        return Look()  # as most are, and each look at a resource comes by here
    return _Looking(observed, revision, refuse).look()


class _Looking:
    def __init__(
        self, observed: Observed, revision: Revision, refuse: Callable[[], Refusal | None]
    ) -> None:
        assert observed.spec is not None
        self.observed, self.revision, self.refuse = observed, revision, refuse
        self.spec, self.now = observed.spec, observed.now
        # Without a word about it, data is looked at when somebody asks.
        self.asks = self.spec.retrain or Retrain()
        self.slots = slots_of(observed)
        self.before = observed.previous.retrain or RetrainStatus()
        self.token = (observed.retrain_token or "")[:_TOKEN]

    def look(self) -> Look:
        record = self._in_step()
        recorded = [it for it in self._probes if it.uid == self.before.probe]
        current = self._current()
        stale = [it for it in self._probes if it not in recorded and it is not current]
        actions: tuple[Action, ...] = (
            *(errands.done(it, "its outcome is on record") for it in recorded),
            *(errands.done(it, "nobody asks for it any more") for it in stale),
        )
        again = self._until_next(record)
        if not self._may:
            return Look(_or_none(record), actions=actions, again=again)
        if current is not None and current.end is not None:
            found = self._outcome(record, current, current.end)
            if found is None:
                return Look(_or_none(record), actions=actions, again=errands.WORD_SECONDS)
            return self._concluded(found, actions, _RECORDED_SECONDS)
        if current is None and (about := self._due(record)):
            return self._begun(record, about, actions)
        return self._concluded(record, actions, again)

    @property
    def _probes(self) -> list[Errand]:
        return [it for it in self.observed.errands if it.role == PROBE and not it.deleting]

    @property
    def _may(self) -> bool:
        """A run reads the data as it is; and where nothing is in use, it is a run that lacks."""
        published = in_use_of(self.observed.previous) is not None
        return published and not self.spec.suspend and has_ended(self.observed, self.revision)

    def _current(self) -> Errand | None:
        """The look that is on its way, or whose outcome isn't on record yet."""
        if self.spec.suspend:
            return None
        mine = (
            it
            for it in self._probes
            if it.uid != self.before.probe and self._is_asked_for(_About.parse(it.about))
        )
        return min(mine, key=lambda it: (it.created, it.name), default=None)

    def _is_asked_for(self, about: _About) -> bool:
        if about.against != self.revision.name:
            return False
        return bool((about.slot and self.slots) or (about.token and about.token == self.token))

    def _in_step(self) -> RetrainStatus:
        """The record, with the schedule as it is now: what was before an edit counts for
        nothing."""
        record = self.before
        if self.token and self.observed.previous.revision is None:
            record = record.model_copy(update={"token": self.token})  # the first run reads all
        if self.slots is None:
            return record.model_copy(update={"schedule": None, "slot": None, "next_probe": None})
        name = f"{self.asks.schedule} {self.asks.time_zone}"
        served = record.slot if record.schedule == name else None
        record = record.model_copy(update={"schedule": name, "slot": None})
        return self._served(record, served or timestamp(self.slots.latest(self.now).time), "")

    def _served(self, record: RetrainStatus, slot: str, token: str) -> RetrainStatus:
        """The record, of times up to this one, and of that token."""
        changes: dict[str, object] = {"token": token} if token else {}
        if self.slots is not None and slot:
            at = max(it for it in (self._credible(slot), _parsed(record.slot)) if it)
            following = self.slots.after(at).due
            changes |= {"slot": timestamp(at), "next_probe": timestamp(following)}
        return record.model_copy(update=changes)

    def _credible(self, slot: str) -> datetime:
        """A time that was served; the latest where it is none, or by a clock that was ahead."""
        assert self.slots is not None
        at = _parsed(slot)
        if at is None or at > self.slots.after(self.now).time:
            return self.slots.latest(self.now).time
        return at

    def _due(self, record: RetrainStatus) -> _About | None:
        """Of times that were missed the latest one only."""
        slot = timestamp(self.slots.latest(self.now).time) if self.slots else ""
        slot_due, token_due = slot > (record.slot or ""), self.token not in ("", record.token)
        if not slot_due and not token_due:
            return None
        about = _About(
            self.revision.name, slot if slot_due else "", self.token if token_due else ""
        )
        # One that somebody deletes comes again when it is gone.
        leaving = errands.find(self.observed, PROBE, str(about))
        return None if leaving is not None else about

    def _until_next(self, record: RetrainStatus) -> float | None:
        due = _parsed(record.next_probe)
        if due is None or due <= self.now:
            return None  # what it waits for wakes it
        return min((due - self.now).total_seconds(), LOOK_SECONDS)

    def _begun(self, record: RetrainStatus, about: _About, actions: tuple[Action, ...]) -> Look:
        if self.asks.when == "Always":
            message = "retrain.when is Always: the data isn't looked at before."
            found = self._found(record, about, "Changed", message)
            return self._concluded(found, actions, self._until_next(found))
        begun = self._errand(about)
        if isinstance(begun, str):
            found = self._found(record, about, "Failed", begun)
            return self._concluded(found, actions, self._until_next(found))
        return Look(_or_none(record), actions=(*actions, begun))

    def _errand(self, about: _About) -> Ensure | str:
        """The Job of a look, or why there can be none."""
        if (refusal := self.refuse()) is not None:
            return refusal.message
        try:
            wanted = Wanted(PROBE, str(about), self._order(), of_rows(self.spec))
            return errands.ensure(self.observed, wanted)
        except LookupError:
            return "luthier.yaml has no pool for looks at the data; ask the platform team for one"
        except ValueError:
            return "The spec is too large for a look at its data; shorten dataset.chatTemplate"

    def _order(self) -> ProbeOrder:
        observed, artifact = self.observed, self.observed.previous.artifact
        return probe_order(
            observed.owner,
            self.spec,
            self.revision,
            observed.platform,
            result=artifact.uri if artifact else None,
            dataset_digest=observed.previous.dataset_digest,
        )

    def _outcome(self, record: RetrainStatus, errand: Errand, end: JobEnd) -> RetrainStatus | None:
        """What a look that has ended came to; None where its pod's word isn't known yet."""
        told = errands.result_of(self.observed, errand, ProbeResult)
        if told is None and errands.has_no_word_yet(self.observed, end):
            return None
        about = _About.parse(errand.about)
        record = record.model_copy(update={"last_probe": end.time, "probe": errand.uid})
        if told is None or told.outcome != "Succeeded":
            return self._found(record, about, "Failed", _why(told, end))
        changes = {"dataset_digest": told.dataset_digest, "rows": told.rows}
        if not told.changed:
            message = f"The data is what {about.against} was made from."
            return self._found(record, about, "Unchanged", message, **changes)
        changes["last_change"] = end.time
        lacking = too_few(self.asks, told.rows)
        outcome = "TooFewNew" if lacking else "Changed"
        message = f"Other data than {about.against} was made from{_counted(told.rows)}{lacking}."
        return self._found(record, about, outcome, message, **changes)

    def _found(
        self, record: RetrainStatus, about: _About, outcome: str, message: str, **changes: object
    ) -> RetrainStatus:
        found = {
            "against": about.against,
            "outcome": outcome,
            "message": shortened(message, _MESSAGE),
            "dataset_digest": None,
            "rows": None,
            **changes,
        }
        return self._served(record, about.slot, about.token).model_copy(update=found)

    def _concluded(
        self, record: RetrainStatus, actions: tuple[Action, ...], again: float | None
    ) -> Look:
        """What the last look asks for."""
        if (record.outcome, record.against) != ("Changed", self.revision.name):
            return Look(_or_none(record), actions=actions, again=again)
        number, shape = revision_number(self.revision.name) + 1, self.revision.shape_hash
        opens = Revision(revision_name(number, shape), 1, shape)
        goes_on = self.asks.start_from == "InUse"
        begins = {
            "opened": opens.name,
            "start_from": self._in_use() if goes_on else None,
            "settings": self._best(),
        }
        return Look(record.model_copy(update=begins), opens, actions, again)

    def _best(self) -> dict[str, str]:
        """The best settings that a search has found, which is made once unless told otherwise."""
        previous, search = self.observed.previous, self.spec.search
        if search is None or search.again:
            return {}
        if previous.search is not None and previous.search.best is not None:
            return previous.search.best.settings
        return settings_of(previous.retrain, self.revision)

    def _in_use(self) -> SourceRef:
        in_use = in_use_of(self.observed.previous)
        assert in_use is not None
        return reference(in_use)


def slots_of(observed: Observed) -> Slots | None:
    """The times of its schedule, which is one (observe.py)."""
    spec = observed.spec
    if spec is None or spec.retrain is None or spec.retrain.schedule is None:
        return None
    return Slots(spec.retrain.schedule, spec.retrain.time_zone, observed.owner.uid)


def started_from(status: RetrainStatus | None, revision: Revision) -> SourceRef | None:
    """What a revision goes on from, in each of its attempts; None: it begins with the base."""
    return status.start_from if status is not None and status.opened == revision.name else None


def settings_of(status: RetrainStatus | None, revision: Revision) -> dict[str, str]:
    """What a revision is trained with in place of another search; empty: as the spec says."""
    return status.settings if status is not None and status.opened == revision.name else {}


def is_opened_by_data(
    asks: Retrain | None, status: RetrainStatus | None, revision: Revision
) -> bool:
    """Whether a look found other data, and a result that was made from just that may be taken."""
    if status is None or status.opened != revision.name:
        return False
    asks = asks or Retrain()
    return (asks.when, asks.start_from) == ("DatasetChanged", "Base")


def too_few(asks: Retrain, rows: RowChanges | None) -> str:
    """Why so few rows aren't worth a run; empty where they are, or where nobody counted them."""
    if rows is None:
        return ""
    if asks.min_new_rows is not None and rows.new < asks.min_new_rows:
        return f"; minNewRows asks for {asks.min_new_rows:,} new ones"
    before = rows.total - rows.new + rows.gone
    if asks.min_new_fraction is not None and rows.new < asks.min_new_fraction * before:
        return f"; minNewFraction asks for {asks.min_new_fraction:.1%} of {before:,} rows"
    return ""


def _counted(rows: RowChanges | None) -> str:
    if rows is None:
        return ", and no count of its rows"
    return f": of {rows.total:,} rows {rows.new:,} are new or changed, {rows.gone:,} are gone"


def _why(told: ProbeResult | None, end: JobEnd) -> str:
    if told is not None and told.error is not None:
        where = f"{told.error.param}: " if told.error.param else ""
        return f"{told.error.code}: {where}{told.error.message}"
    words = f": {end.message}" if end.message else ""
    return f"{end.reason or 'NoResult'}{words}; its pod left no word of what it found"


def _parsed(time: str | None) -> datetime | None:
    """As metav1.Time; None for anything else: whoever may create a Job wrote what it is about."""
    try:
        found = datetime.fromisoformat(time) if time else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None


def _or_none(record: RetrainStatus) -> RetrainStatus | None:
    return record if record != RetrainStatus() else None
