"""A run in MLflow. Its ids are the server's: it is found by a tag that is the run's own."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from luthier_api.tracking import MLFLOW_PASSWORD, MLFLOW_TOKEN, Mlflow
from luthier_trainer.credentials import credential
from luthier_trainer.errors import TrainerError
from luthier_trainer.tracking.mlflowapi import ApiError, MlflowApi, basic, bearer
from luthier_trainer.tracking.tracker import About, Known, Outcome, Point, TrackerError

_KEY, _GROUP = "luthier.key", "luthier.search"
_STATUS: dict[Outcome, str] = {
    "Finished": "FINISHED",
    "Failed": "FAILED",
    "Interrupted": "KILLED",  # until it goes on
}
# The bounds of the API's calls; of values, those of the oldest servers in use.
_METRICS, _PARAMS, _TAGS = 1000, 100, 100
_PARAM_LENGTH, _TAG_LENGTH, _NAME_LENGTH, _DIGEST_LENGTH = 500, 5000, 250, 36


class MlflowRun:
    """See tracker.Tracker."""

    name: Literal["MLflow"] = "MLflow"

    def __init__(self, wish: Mlflow, about: About) -> None:
        self.id: str | None = None
        self.url: str | None = None
        self._wish, self._about = wish, about
        self._params: set[str] = set()
        self._tags: dict[str, str] = {}
        self._step = -1
        self._ended = 0

    def open(self, known: Known) -> int:
        self._api = MlflowApi(self._wish.uri or "", self._authorization())
        self._experiment = self._find_experiment()
        found = self._find_run(self._about.key)
        run = found or self._make_run(known)
        self.id = str(run["info"]["run_id"])
        self.url = f"{self._api.uri}/#/experiments/{self._experiment}/runs/{self.id}"
        data = run.get("data", {})
        # A param stays as it was first told: another value would be an error.
        self._params = {str(it["key"]) for it in data.get("params", [])}
        self._tags = {str(it["key"]): str(it.get("value", "")) for it in data.get("tags", [])}
        if found:
            self._update("RUNNING")
        self._tell_dataset(known)
        self.know(known)
        self._step = max((int(it.get("step", 0)) for it in data.get("metrics", [])), default=-1)
        return self._step

    def know(self, known: Known) -> None:
        tags = {f"luthier.{name}": it[:_TAG_LENGTH] for name, it in known.facts.items()}
        if note := _note(known):
            tags["mlflow.note.content"] = note
        tags |= self._of_search()
        new = {name: it for name, it in tags.items() if self._tags.get(name) != it}
        for part in _parts(list(new.items()), _TAGS):
            self._batch(tags=[{"key": name, "value": it} for name, it in part])
        self._tags |= new
        resolved = {f"resolved.{name}": it for name, it in known.resolved.items()}
        params = {**dict(_flat(self._about.spec)), **resolved}
        left = [it for it in params.items() if it[0] not in self._params]
        for part in _parts(left, _PARAMS):
            self._batch(params=[{"key": name, "value": _cut(it)} for name, it in part])
            self._params.update(name for name, _ in part)

    def measure(self, points: Sequence[Point]) -> None:
        values = [
            {"key": name, "value": it, "timestamp": round(point.time * 1000), "step": point.step}
            for point in points
            for name, it in point.values.items()
        ]
        for part in _parts(values, _METRICS):
            self._batch(metrics=part)
        self._step = points[-1].step

    def end(self, known: Known) -> None:
        self.know(known)
        # Told again after a failure, it is the same value, not another one.
        now = self._ended = self._ended or round(time.time() * 1000)
        values = [
            {"key": name, "value": it, "timestamp": now, "step": max(self._step, 0)}
            for name, it in known.results.items()
        ]
        for part in _parts(values, _METRICS):
            self._batch(metrics=part)
        assert known.end
        self._update(_STATUS[known.end], end_time=now)

    def close(self) -> None:
        """It holds nothing."""

    def _authorization(self) -> str | None:
        try:
            token = credential(MLFLOW_TOKEN, "tracking.mlflow.tokenSecretRef")
            password = credential(MLFLOW_PASSWORD, "tracking.mlflow.passwordSecretRef")
        except TrainerError as error:
            raise TrackerError(error.error.message, refused=True) from None
        for ref, found in (
            (self._wish.token_secret_ref, token),
            (self._wish.password_secret_ref, password),
        ):
            if ref and not found:
                told = f"the Secret {ref.name} has no key {ref.key}, or isn't there: make it"
                raise TrackerError(told, refused=True)
        if self._wish.username and password:
            return basic(self._wish.username, password)
        return bearer(token) if self._wish.token_secret_ref and token else None

    def _find_experiment(self) -> str:
        about = self._about
        name = self._wish.experiment or f"{about.namespace}/{about.job}"
        if found := self._experiment_named(name):
            return found
        try:
            return str(self._api.post("experiments/create", {"name": name})["experiment_id"])
        except ApiError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        if found := self._experiment_named(name):  # another pod has made it
            return found
        raise TrackerError(f"the experiment {name} can't be made", refused=True)

    def _experiment_named(self, name: str) -> str | None:
        try:
            found = self._api.get("experiments/get-by-name", experiment_name=name)["experiment"]
        except ApiError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if found.get("lifecycle_stage") == "deleted":
            raise TrackerError(
                f"the experiment {name} is deleted there: restore it, or name another in "
                "tracking.mlflow.experiment",
                refused=True,
            )
        return str(found["experiment_id"])

    def _find_run(self, key: str) -> dict[str, Any] | None:
        document = {
            "experiment_ids": [self._experiment],
            "filter": f"tags.`{_KEY}` = '{key}'",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 1,
        }
        runs = self._api.post("runs/search", document).get("runs") or [None]
        found: dict[str, Any] | None = runs[0]
        return found

    def _make_run(self, known: Known) -> dict[str, Any]:
        about = self._about
        tags = {
            _KEY: about.key,
            "mlflow.source.name": f"{known.facts.get('kind')} {about.namespace}/{about.job}",
            "mlflow.source.type": "JOB",
            "mlflow.user": about.namespace,
        }
        document = {
            "experiment_id": self._experiment,
            "run_name": about.name,
            "start_time": round(about.began * 1000),
            "tags": [{"key": name, "value": it} for name, it in tags.items()],
        }
        made: dict[str, Any] = self._api.post("runs/create", document)["run"]
        return made

    def _of_search(self) -> dict[str, str]:
        """What a trial is shown below: the run of its search, once that is there."""
        group = self._about.group
        if group is None:
            return {}
        tags = {_GROUP: group}
        if "mlflow.parentRunId" not in self._tags and (parent := self._find_run(group)):
            tags["mlflow.parentRunId"] = str(parent["info"]["run_id"])
        return tags

    def _tell_dataset(self, known: Known) -> None:
        """As MLflow lists a run's datasets; servers before 2.4 have no such list."""
        digest, uri = known.facts.get("dataset.digest"), known.facts.get("dataset.uri")
        if not digest or not uri:
            return
        dataset = {
            "name": uri[:_PARAM_LENGTH],
            "digest": digest.rpartition(":")[2][:_DIGEST_LENGTH],
            "source_type": uri.partition("://")[0],
            "source": json.dumps({"uri": uri}),
        }
        context = {"key": "mlflow.data.context", "value": "training"}
        document = {"run_id": self.id, "datasets": [{"dataset": dataset, "tags": [context]}]}
        try:
            self._api.post("runs/log-inputs", document)
        except ApiError as error:
            if error.status != 404:
                raise

    def _batch(self, **parts: Sequence[Any]) -> None:
        self._api.post("runs/log-batch", {"run_id": self.id, **parts})

    def _update(self, status: str, **more: Any) -> None:
        self._api.post("runs/update", {"run_id": self.id, "status": status, **more})


def _note(known: Known) -> str | None:
    """What stands on the run's page."""
    uri = known.facts.get("artifact.uri")
    if uri is None:
        return None
    digest = known.facts.get("artifact.manifestSha256")
    return f"Result: `{uri}`, sha256 of its manifest.json: `{digest}`"


def _flat(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of all that is no map; lists as JSON."""
    for name, value in document.items():
        path = f"{above}.{name}" if above else name
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        else:
            yield path[:_NAME_LENGTH], value if isinstance(value, str) else json.dumps(value)


def _cut(text: str) -> str:
    return text if len(text) <= _PARAM_LENGTH else f"{text[: _PARAM_LENGTH - 1]}…"


def _parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + most] for first in range(0, len(items), most))
