"""Writes charts/luthier/values.schema.json: `python scripts/values_schema.py`.

The part below `luthier` follows from the models of luthier.yaml (crds/luthier_api/platform.py);
the rest is here. `make verify` fails when the file isn't what this writes.
"""

import json
from pathlib import Path
from typing import Any

from luthier_api.platform import Platform

Schema = dict[str, Any]

FILE = Path(__file__).resolve().parent.parent / "charts/luthier/values.schema.json"

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
NAMESPACE: Schema = {
    "type": "string",
    "maxLength": 63,
    "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
}
# What YAML reads as a number and Kubernetes as text: `cpu: 4`. The chart turns it into text.
TEXT_OR_NUMBER: Schema = {"type": ["string", "number"]}
QUANTITIES: Schema = {"type": "object", "additionalProperties": TEXT_OR_NUMBER}

LEFT_OUT = ("title", "default", "x-kubernetes-validations")


def closed(properties: dict[str, Schema], description: str | None = None) -> Schema:
    """An object that knows no other property, so that a misspelt one is told."""
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"description": description, **schema} if description else schema


def image(of: str) -> Schema:
    return closed(
        {
            "repository": {"type": "string", "pattern": "^[^@\\s]*$"},
            "tag": {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$"},
            "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        },
        f"{of} A digest wins over the tag; neither: the chart's appVersion.",
    )


def operator_image() -> Schema:
    schema = image("The operator's image.")
    schema["properties"]["pullSecrets"] = {"type": "array", "items": STRING}
    return schema


def values() -> dict[str, Schema]:
    """The chart's values but for `luthier`, as properties."""
    return {
        "image": operator_image(),
        "trainerImage": image("The image of every pool that names none."),
        "crds": closed({"enabled": BOOLEAN}),
        "rbac": closed(
            {
                "namespaces": {
                    "type": "array",
                    "items": NAMESPACE,
                    "uniqueItems": True,
                    "description": "Namespaces that the operator serves; without these and a "
                    "selector: all.",
                },
                "namespaceSelector": {
                    "type": "string",
                    "maxLength": 1024,
                    "description": "Namespaces with these labels as well, as kubectl's --selector.",
                },
                "aggregate": BOOLEAN,
            }
        ),
        "serviceAccount": closed({"create": BOOLEAN, "name": STRING, "annotations": STRINGS}),
        "replicas": {"type": "integer", "minimum": 1, "description": "Pods of the operator."},
        "leaderElection": closed(
            {
                "leaseSeconds": {"type": "integer", "minimum": 3, "maximum": 3600},
                "renewSeconds": {"type": "integer", "minimum": 2, "maximum": 3600},
                "retrySeconds": {"type": "integer", "minimum": 1, "maximum": 3600},
            },
            "The times of the Lease: leaseSeconds > renewSeconds > 1.2 × retrySeconds.",
        ),
        "resources": closed({"requests": QUANTITIES, "limits": QUANTITIES}),
        "logLevel": {"enum": ["DEBUG", "INFO", "WARNING", "ERROR"]},
        "podAnnotations": STRINGS,
        "podLabels": STRINGS,
        "nodeSelector": STRINGS,
        "tolerations": OBJECTS,
        "affinity": {"type": "object"},
        "priorityClassName": STRING,
        "terminationGracePeriodSeconds": {"type": "integer", "minimum": 1},
        "service": closed({"annotations": STRINGS}),
        "podDisruptionBudget": closed({"enabled": BOOLEAN}),
        "admissionPolicy": closed(
            {
                "enabled": BOOLEAN,
                "createdBy": closed(
                    {"required": BOOLEAN, "writers": {"type": "array", "items": STRING}}
                ),
            }
        ),
        "networkPolicy": closed(
            {
                "enabled": BOOLEAN,
                "metricsFrom": OBJECTS,
                "apiServer": closed(
                    {
                        "cidrs": {"type": "array", "items": STRING},
                        "ports": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "integer", "minimum": 1, "maximum": 65535},
                        },
                    }
                ),
            }
        ),
        "serviceMonitor": closed({"enabled": BOOLEAN, "interval": STRING, "labels": STRINGS}),
        "prometheusRule": closed(
            {
                "enabled": BOOLEAN,
                "labels": STRINGS,
                "ruleLabels": STRINGS,
                "runbookUrl": {"type": "string", "pattern": "^(https?://[^#\\s]+)?$"},
                "disabled": {"type": "array", "items": STRING},
                "for": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "string",
                        "pattern": "^([0-9]+(ms|[smhdwy]))+$",
                    },
                },
            }
        ),
        "dashboards": closed({"enabled": BOOLEAN, "labels": STRINGS, "annotations": STRINGS}),
        "nameOverride": STRING,
        "fullnameOverride": STRING,
        # Helm hands every chart that is part of another one these two.
        "global": {"type": "object"},
        "enabled": BOOLEAN,
    }


def readable(node: Any) -> Any:
    """A pydantic schema without titles, defaults and CEL; `X or null` as `type: [X, null]`.

    Of a failed anyOf Helm would report each branch, of a type just the one mistake.
    """
    if isinstance(node, list):
        return [readable(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {
        # The keys of `properties` are names, not keywords: one may be called title.
        key: {k: readable(v) for k, v in value.items()} if key == "properties" else readable(value)
        for key, value in node.items()
        if key not in LEFT_OUT
    }
    match schema.get("anyOf"):
        case [{"type": str(kind), **rest}, {"type": "null"}]:
            del schema["anyOf"]
            schema |= {"type": [kind, "null"], **rest}
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
    return schema


def platform() -> tuple[Schema, dict[str, Schema]]:
    """luthier.yaml as the chart takes it, and the definitions that it refers to."""
    schema = Platform.model_json_schema(by_alias=True)
    definitions = {name: readable(part) for name, part in schema.pop("$defs").items()}
    pool = definitions["Pool"]
    pool["required"].remove("image")
    pool["properties"]["image"]["description"] = "The trainer's image; left out: trainerImage."
    pool["properties"]["env"]["additionalProperties"] = TEXT_OR_NUMBER
    for part in ("requests", "limits"):
        definitions["Resources"]["properties"][part]["additionalProperties"] = TEXT_OR_NUMBER
    return readable(schema), definitions


def schema() -> Schema:
    luthier, definitions = platform()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated by scripts/values_schema.py. Don't edit.",
        "title": "Values of the chart luthier",
        **closed({"luthier": luthier, **values()}),
        "required": ["image", "trainerImage", "luthier"],
        "$defs": definitions,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
