"""Trackers that runs are told to: MLflow and W&B, by the names that tools have for them."""

from luthier_cli.convert.mapping import Group
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import choice, is_on, of_texts, table, text

WANDB = ("tracking.wandb", "tracking.wandb.project", "tracking.wandb.entity", "tracking.wandb.mode")
TARGETS = (*WANDB, "tracking.mlflow", "tracking.mlflow.uri", "tracking.mlflow.experiment")
OTHERS = "runs are told to MLflow and W&B: tracking; curves lie with every result"
_KEY = "its key is the platform's, or tracking.wandb.apiKeySecretRef's"
_MODES = choice({"online": "Online", "offline": "Offline"}, "it is Online or Offline")
_ALWAYS = ("none", "tensorboard", "[]")


def reported(it: Group) -> None:
    """report_to of transformers."""
    given = it.get("report_to")
    names = [name.lower() for name in of_texts(given)]
    names = [part.strip() for name in names for part in name.split(",")]
    for name in ("wandb", "mlflow"):
        if name in names or "all" in names:
            it.put(f"tracking.{name}", {}, "report_to", _KEY if name == "wandb" else "",
                   fate=Fate.DIFFERS if name == "wandb" else Fate.SAME)  # fmt: skip
    others = [name for name in names if name not in ("wandb", "mlflow", "all", *_ALWAYS)]
    if others:
        it.lost("report_to", OTHERS)
    it.rest("curves and TensorBoard's files lie with every result")


def configured(it: Group) -> None:
    """wandb_… and mlflow_… of Axolotl."""
    wandb = it.get("use_wandb") is not False and str(it.get("wandb_mode")) != "disabled"
    if wandb and (it.get("wandb_project") or is_on(it.get("use_wandb"))):
        it.put("tracking.wandb", {}, "use_wandb", _KEY, fate=Fate.DIFFERS)
        it.read("tracking.wandb.project", "wandb_project", text)
        it.read("tracking.wandb.entity", "wandb_entity", text)
        it.read("tracking.wandb.mode", "wandb_mode", _MODES)
    if is_on(it.get("use_mlflow")) or it.get("mlflow_tracking_uri"):
        it.put("tracking.mlflow", {}, "use_mlflow")
        it.read("tracking.mlflow.uri", "mlflow_tracking_uri", text)
        it.read("tracking.mlflow.experiment", "mlflow_experiment_name", text)
    it.rest("a run is called by its revision, and its settings and metrics are told")


def integrations(it: Group) -> None:
    """integrations of OpenAI."""
    given = it.get("integrations")
    for entry in given if isinstance(given, list) else []:
        settings = table(table(entry).get("wandb"))
        if not settings:
            continue
        it.put("tracking.wandb", {}, "integrations", _KEY, fate=Fate.DIFFERS)
        for name in ("project", "entity"):
            if isinstance(settings.get(name), str) and settings[name]:
                it.put(f"tracking.wandb.{name}", settings[name], "integrations")
    it.rest("there is none")
