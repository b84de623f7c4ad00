"""The three CustomResourceDefinitions: names, printer columns, schemas."""

from dataclasses import dataclass
from typing import Any

from luthier_api import GROUP, VERSION, kinds
from luthier_api.meta import Model, Rule
from luthier_api.structural import Schema, structural_schema, validation

# The one default of a status: kstatus takes a resource without `observedGeneration` for done.
UNSEEN = {"observedGeneration": -1}

# Names of Jobs, Services and pods are made of the resource's, and end at 63
# characters: the longest is <name>-<hash8>-<role>-0-<index>-<5 random> of a JobSet.
MAX_NAME_LENGTH = 40

NAME_RULES = (
    Rule(
        f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
        "metadata.name is too long: names of pods are made of it, so use at most "
        f"{MAX_NAME_LENGTH} characters",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must begin with a letter and hold a-z, 0-9 and - only (no dots): names of "
        "pods and services are made of it",
    ),
)


@dataclass(frozen=True)
class PrinterColumn:
    """A column of `kubectl get`; `wide` ones show with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in `additionalPrinterColumns`."""
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
            "priority": 1 if self.wide else 0,
        }


def _unseen(status: Schema) -> Schema:
    """A status that nobody has written is no state of this spec; so is one that lost its fields."""
    status["default"] = UNSEEN
    for name, value in UNSEEN.items():
        status["properties"][name]["default"] = value
    return status


@dataclass(frozen=True)
class CustomResource:
    """One kind of the API."""

    of: kinds.Kind
    description: str
    columns: tuple[PrinterColumn, ...]

    @property
    def kind(self) -> str:
        """Its name."""
        return self.of.name

    @property
    def plural(self) -> str:
        """Its name in paths."""
        return self.of.plural

    @property
    def spec(self) -> type[Model]:
        """The model of its spec."""
        return self.of.spec_model()

    @property
    def status(self) -> type[Model]:
        """The model of its status."""
        return self.of.status_model()

    @property
    def crd_name(self) -> str:
        """The name of its CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"

    def schema(self) -> Schema:
        """The schema of a whole object."""
        return {
            "description": self.description,
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {
                    "type": "string",
                    "description": f"Version of this schema: {GROUP}/{VERSION}.",
                },
                "kind": {"type": "string", "description": f"The kind of object: {self.kind}."},
                "metadata": {"type": "object"},
                "spec": structural_schema(self.spec),
                "status": _unseen(structural_schema(self.status, defaults=False)),
            },
            "x-kubernetes-validations": [validation(rule) for rule in NAME_RULES],
        }

    def crd(self) -> dict[str, Any]:
        """The CustomResourceDefinition."""
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.crd_name,
                "labels": {"app.kubernetes.io/part-of": "luthier"},
            },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                    "plural": self.plural,
                    "singular": self.kind.lower(),
                    "shortNames": [self.of.short],
                    "categories": ["luthier"],
                },
                "versions": [
                    {
                        "name": VERSION,
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "additionalPrinterColumns": [column.to_json() for column in self.columns],
                        "schema": {"openAPIV3Schema": self.schema()},
                    }
                ],
            },
        }


_PHASE = PrinterColumn("Phase", ".status.phase", "The state in a word.")
_AGE = PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", "date")
# kstatus' summary: published or not, and why.
_REASON = PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is so.")
_PROGRESS = PrinterColumn("Progress", ".status.progress.percent", "Share of the steps done.")
_ETA = PrinterColumn("ETA", ".status.progress.eta", "Time left at the last report.")
_RESULT = PrinterColumn("Result", ".status.result", "What came of it.")
_ARTIFACT = PrinterColumn("Artifact", ".status.artifact.uri", "The published result.", wide=True)

FINE_TUNE_JOB = CustomResource(
    of=kinds.FINE_TUNE_JOB,
    description="A base model, a dataset and a method become an adapter or a model, evaluated, in "
    "S3.",
    columns=(
        _PHASE,
        _REASON,
        PrinterColumn("Method", ".spec.method.type", "What of the model is trained."),
        PrinterColumn("Stage", ".status.progress.stage", "What the run is doing."),
        _PROGRESS,
        _ETA,
        _RESULT,
        _AGE,
        PrinterColumn("Loss", ".status.progress.loss", "Training loss.", "number", wide=True),
        PrinterColumn(
            "In-Use", ".status.inUse.revision", "The revision that is in use.", wide=True
        ),
        PrinterColumn("Queue", ".spec.placement.queueName", "Queue of Kueue.", wide=True),
        PrinterColumn(
            "Restarts",
            ".status.restarts.total",
            "Pods of this revision that ended early.",
            "integer",
            wide=True,
        ),
        PrinterColumn(
            "Checkpoint",
            ".status.checkpoints[-1:].step",
            "Step of the last checkpoint.",
            "integer",
            wide=True,
        ),
        _ARTIFACT,
    ),
)

OPTIMIZE_JOB = CustomResource(
    of=kinds.OPTIMIZE_JOB,
    description="A model or an adapter becomes ONNX: quantised, proven equal enough, measured, in "
    "S3.",
    columns=(
        _PHASE,
        _REASON,
        PrinterColumn("Stage", ".status.stage", "What the run is doing."),
        _PROGRESS,
        _ETA,
        _RESULT,
        _AGE,
        PrinterColumn("Source", ".status.source.uri", "What is optimised.", wide=True),
        _ARTIFACT,
    ),
)

ADAPTER_BUNDLE = CustomResource(
    of=kinds.ADAPTER_BUNDLE,
    description="Many adapters on one shared base become one multi-adapter ONNX package, kept "
    "fresh.",
    columns=(
        _PHASE,
        _REASON,
        PrinterColumn("Stage", ".status.stage", "What the run is doing."),
        _PROGRESS,
        _RESULT,
        _AGE,
        PrinterColumn("Package", ".status.current.uri", "The package in use.", wide=True),
    ),
)

CUSTOM_RESOURCES = (FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE)
