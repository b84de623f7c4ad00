"""Where data lies: the URIs of models, datasets and results."""

from typing import Annotated

from pydantic import Field

from luthier_api.meta import Matches, Rule

MODEL_SCHEMES = ("hf", "s3", "pvc", "file")
DATASET_SCHEMES = ("s3", "hf", "https", "pvc", "configmap", "file")

# User info and queries can carry secrets, and a URI is shown in status and in model cards.
Uri = Annotated[
    str,
    Field(min_length=6, max_length=1024),
    Matches(
        r"^[a-z0-9]+://",
        "a URI begins with a scheme: hf://OWNER/NAME of a hub, s3://BUCKET/KEY, file:///PATH",
    ),
    Matches(
        r"[@?#]",
        "a URI holds no @, ? or #: credentials belong in the Secret that storage.secretName "
        "names, a revision in its own field; in a name write %40, %3F or %23",
        unwanted=True,
    ),
    Matches(
        r"[\s{}<>|\\^`\"\x27]",
        "a URI holds no blanks, braces or quotes: fill in the placeholder, or write %20 for a "
        "blank in a name, and the others alike",
        unwanted=True,
    ),
    Matches(
        r"^(s3|hf|https|pvc|configmap)://(/|$)",
        "the bucket's (or host's) name is missing after ://",
        unwanted=True,
    ),
    Matches(
        r"^file://[^/]", "file:// takes an absolute path, e.g. file:///data/model", unwanted=True
    ),
    Matches(
        r"[^:/]//|^[a-z0-9]+:////|/[.][.]?(/|$)",
        "the path holds an empty segment, . or ..: write the plain path",
        unwanted=True,
    ),
]


def scheme_rule(what: str, schemes: tuple[str, ...], field: str = "uri") -> Rule:
    """Refuses schemes that `what` can't be read from. A `field` other than uri may be left out."""
    known = " || ".join(f"self.{field}.startsWith('{scheme}://')" for scheme in schemes)
    listed = ", ".join(f"{scheme}://" for scheme in schemes)
    return Rule(
        known if field == "uri" else f"!has(self.{field}) || {known}",
        f"{what} are read from {listed}: copy it to one of them, e.g. s3://BUCKET/KEY",
        field=f".{field}",
    )


def claim_rule(field: str = "uri") -> Rule:
    """What a pvc:// names must be the name of a claim. A `field` other than uri may be left out."""
    absent = "" if field == "uri" else f"!has(self.{field}) || "
    return Rule(
        f"{absent}!self.{field}.startsWith('pvc://') || "
        f"self.{field}.matches('^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/|$)')",
        "write pvc://CLAIM/PATH with the name of a PersistentVolumeClaim: a-z, 0-9, - and . only",
        field=f".{field}",
    )


# What a pvc:// or configmap:// names must be the name of such an object.
OBJECT_RULES = (
    claim_rule(),
    Rule(
        "!self.uri.startsWith('configmap://') || "
        "self.uri.matches('^configmap://[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[-._a-zA-Z0-9]+$')",
        "write configmap://NAME/KEY, with the ConfigMap's name and one of its keys",
        field=".uri",
    ),
)
