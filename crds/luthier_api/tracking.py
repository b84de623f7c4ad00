"""Experiment trackers that runs tell of themselves: MLflow, W&B."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from luthier_api.meta import Matches, Model, Rule, SecretKeyRef
from luthier_api.prefixes import ANYTHING

WANDB_URI = "https://api.wandb.ai"
# What the pod finds the credentials by; the trackers' own clients read the same names.
MLFLOW_TOKEN, MLFLOW_PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"
WANDB_KEY = "WANDB_API_KEY"

_SERVER = r"https?://[^/\s@?#%\\]+(/[^\s@?#%\\]*)?"
_PLAIN = Matches(
    r"[^:/]//|^[a-z]+:////|/[.][.]?(/|$)",
    "an address holds no empty segment, . or ..: write the plain path",
    unwanted=True,
)
# Its user info or query could hold a secret, and status and logs show it.
TrackerUri = Annotated[
    str,
    Field(min_length=8, max_length=512),
    Matches(
        rf"^{_SERVER}$",
        "a tracking server is https://HOST/PATH or http://HOST:PORT, without user, query or %: "
        "credentials belong in a Secret",
    ),
    _PLAIN,
]
TrackerPrefix = Annotated[
    str,
    Field(max_length=512),
    Matches(
        rf"^([*]|{_SERVER})$",
        "write the address of a tracking server, https://HOST or http://HOST:PORT/PATH; * stands "
        "for every server",
    ),
    _PLAIN,
]
_Title = Matches(
    r"^[^\x00-\x1f\x7f]+$", "a name has no line ends, tabs or other control characters"
)
# What W&B takes for the name of a project or an entity.
_WandbName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Matches(
        r"^[^\x00-\x1f\x7f/\\#?%:\s]+$",
        "W&B's names have no blanks, and none of / \\ # ? % :",
    ),
]


class Mlflow(Model):
    """An MLflow tracking server."""

    uri: TrackerUri | None = Field(
        default=None,
        description="Address of the server, e.g. http://mlflow.mlflow:5000. Left out: the one of "
        "luthier.yaml, with its credentials. Another one needs the platform's consent "
        "(consent.trackers).",
    )
    experiment: Annotated[str, Field(min_length=1, max_length=250), _Title] | None = Field(
        default=None,
        description="Name of the experiment, which is made if it isn't there. Left out: "
        "NAMESPACE/NAME of the resource, so that its revisions stand side by side.",
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="A token that the server takes as `Authorization: Bearer`."
    )
    username: Annotated[str, Field(min_length=1, max_length=128), _Title] | None = Field(
        default=None, description="Who logs in by a password (MLflow's basic-auth)."
    )
    password_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The password of `username`."
    )

    rules = (
        Rule(
            "has(self.username) == has(self.passwordSecretRef)",
            "username and passwordSecretRef belong together: set both, or neither",
            field=".username",
        ),
        Rule(
            "!has(self.tokenSecretRef) || !has(self.passwordSecretRef)",
            "a server is logged in to either by a token or by a password: remove one of them",
            field=".tokenSecretRef",
        ),
    )


class Wandb(Model):
    """Weights & Biases."""

    uri: TrackerUri | None = Field(
        default=None,
        description="Address of a server of one's own. Left out: the one of luthier.yaml, else "
        f"{WANDB_URI}. A server that isn't the platform's needs its consent (consent.trackers).",
    )
    entity: _WandbName | None = Field(
        default=None, description="Team or user. Left out: the default of the key's owner."
    )
    project: _WandbName | None = Field(
        default=None, description="Left out: NAMESPACE-NAME of the resource."
    )
    mode: Literal["Online", "Offline"] | None = Field(
        default=None,
        description="Offline: nothing is sent; the run lies as a file below report/wandb, which "
        "`wandb sync` uploads. Left out: as luthier.yaml says, else Online.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The API key; Offline needs none."
    )

    @property
    def is_offline(self) -> bool:
        """Whether nothing is sent."""
        return self.mode == "Offline"


class Tracking(Model):
    """Trackers that a run tells of itself; {}: none."""

    mlflow: Mlflow | None = Field(default=None, description="An MLflow tracking server.")
    wandb: Wandb | None = Field(default=None, description="Weights & Biases.")

    def credentials(self) -> Iterator[tuple[str, str, SecretKeyRef]]:
        """(variable of the pod's environment, field, key of a Secret)."""
        found = []
        if self.mlflow:
            found = [
                (MLFLOW_TOKEN, "mlflow.tokenSecretRef", self.mlflow.token_secret_ref),
                (MLFLOW_PASSWORD, "mlflow.passwordSecretRef", self.mlflow.password_secret_ref),
            ]
        if self.wandb:
            found.append((WANDB_KEY, "wandb.apiKeySecretRef", self.wandb.api_key_secret_ref))
        return ((name, field, ref) for name, field, ref in found if ref)


def filled(own: Tracking | None, platforms: Tracking | None) -> Tracking | None:
    """What a spec says, and where it leaves something out, what luthier.yaml says.

    A server that the spec names is never shown what luthier.yaml's is logged in to with.
    """
    if own is None or platforms is None:
        return own or platforms
    return Tracking(
        mlflow=_mlflow(own.mlflow, platforms.mlflow), wandb=_wandb(own.wandb, platforms.wandb)
    )


def _mlflow(own: Mlflow | None, platforms: Mlflow | None) -> Mlflow | None:
    if own is None or platforms is None or own.uri:
        return own
    given: dict[str, object] = {"uri": platforms.uri}
    if own.experiment is None:
        given["experiment"] = platforms.experiment
    if not (own.token_secret_ref or own.password_secret_ref):
        names = ("token_secret_ref", "username", "password_secret_ref")
        given |= {name: getattr(platforms, name) for name in names}
    return own.model_copy(update=given)


def _wandb(own: Wandb | None, platforms: Wandb | None) -> Wandb | None:
    if own is None or platforms is None:
        return own
    names = ["mode"]
    if not own.uri:
        names += ["uri", "entity", "project", "api_key_secret_ref"]
    given = {name: getattr(platforms, name) for name in names if getattr(own, name) is None}
    return own.model_copy(update=given)


def servers(tracking: Tracking | None) -> Iterator[tuple[str, str]]:
    """(field, address) of all that a run sends to."""
    if tracking and tracking.mlflow and tracking.mlflow.uri:
        yield "mlflow.uri", tracking.mlflow.uri
    if tracking and tracking.wandb and not tracking.wandb.is_offline:
        yield "wandb.uri", tracking.wandb.uri or WANDB_URI


def is_below(prefix: str, uri: str) -> bool:
    """Whether a server is the prefix, or lies below it, up to the end of a name in the path."""
    if prefix == ANYTHING:
        return True
    root, place = _place(prefix), _place(uri)
    return root[:2] == place[:2] and (place[2] + "/").startswith(root[2].rstrip("/") + "/")


def _place(uri: str) -> tuple[str, str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc.lower(), parts.path.rstrip("/")


class TrackedRun(Model):
    """A run, as a tracker has it."""

    tracker: Literal["MLflow", "WandB"] = Field(description="Whose it is.")
    id: str | None = Field(default=None, max_length=128, description="Its id there.")
    url: str | None = Field(default=None, max_length=1024, description="Its page.")
    problem: str | None = Field(
        default=None,
        max_length=300,
        description="Why the tracker doesn't have all of it. Trained it is all the same.",
    )


def told_of(runs: Sequence[TrackedRun]) -> tuple[bool, str]:
    """Whether a tracker lacks something, and for people what each has."""
    told = (f"{it.tracker}: {it.problem or it.url or it.id or 'told'}" for it in runs)
    return any(it.problem for it in runs), "; ".join(told)
