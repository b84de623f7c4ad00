"""What the records of a search come to: the best, when to stop, what is told of it. Pure."""

import json
from collections.abc import Sequence

from luthier_api.finetuning import FineTuning
from luthier_api.search import Search, SearchStatus, Trial
from luthier_api.searchspace import active, trials_of, written
from luthier_trainer.search.records import Record

# The table of a report: most trials, and their bytes, which leave the rest of a report its room.
MOST_SHOWN, MOST_BYTES = 50, 20_000


def best_of(search: Search, records: Sequence[Record]) -> Record | None:
    """The best trial that went to its end; of equals the first."""
    sign = 1 if search.objective.direction == "maximize" else -1
    whole = (it for it in records if it.state == "Complete" and it.measured)
    return max(whole, key=lambda it: (sign * (it.value or 0.0), -it.number), default=None)


def stopped(search: Search, records: Sequence[Record]) -> str | None:
    """Why no more trials are begun, before all are."""
    if search.stop_after is None:
        return None
    ended = sorted((it for it in records if it.measured), key=_by_end)
    best = best_of(search, ended)
    since = len(ended) - 1 - ended.index(best) if best else 0
    most = search.stop_after.trials_without_gain
    return f"no gain in {since} trials (stopAfter.trialsWithoutGain)" if since >= most else None


def failed(records: Sequence[Record]) -> list[Record]:
    """Those that failed, in the order in which they did."""
    return sorted((it for it in records if it.state == "Failed"), key=_by_end)


def _by_end(record: Record) -> tuple[str, int]:
    """Those that haven't ended last."""
    return record.ended or "~", record.number


def status_of(tuning: FineTuning, records: Sequence[Record]) -> SearchStatus:
    """What a status says: counts, the best, and the latest trials, as many as there is room for."""
    search = tuning.search
    assert search is not None
    states = [it.state for it in records]
    best = best_of(search, records)
    by_news = sorted(records, key=_by_end, reverse=True)
    shown: list[Trial] = []
    room = MOST_BYTES
    others = (it for it in by_news if it is not best)
    for record in (*([best] if best else []), *others):
        trial = trial_of(tuning, record)
        room -= len(json.dumps(trial.to_json()))
        if room < 0 or len(shown) == MOST_SHOWN:
            break
        shown.append(trial)
    return SearchStatus(
        trials=trials_of(search),
        running=states.count("Running"),
        complete=states.count("Complete"),
        pruned=states.count("Pruned"),
        failed=states.count("Failed"),
        best=trial_of(tuning, best) if best else None,
        table=sorted(shown, key=lambda it: it.number),
        stopped=stopped(search, records),
    )


def trial_of(tuning: FineTuning, record: Record) -> Trial:
    """A trial, as it is told of; without the values that its method doesn't have."""
    return Trial(
        number=record.number,
        state=record.state,
        value=record.value,
        step=record.step,
        seconds=round(record.seconds, 1),
        error=record.error and record.error[:200],
        settings={
            path: written(value)[:64] for path, value in active(tuning, record.settings).items()
        },
    )
