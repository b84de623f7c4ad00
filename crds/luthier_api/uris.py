"""Where data lies: the URIs of models, datasets and results."""

from typing import Annotated

from pydantic import Field

from luthier_api.meta import Matches, Rule

MODEL_SCHEMES = ("hf", "s3", "pvc", "file")
DATASET_SCHEMES = ("s3", "hf", "https", "pvc", "configmap", "file")
BUILT_SCHEMES = ("s3", "file")

# User info and queries can carry secrets, and a URI is shown in status and in model cards.
Uri = Annotated[
    str,
    Field(min_length=6, max_length=1024),
    Matches(r"^[a-z0-9]+://", "a URI begins with a scheme, e.g. s3://BUCKET/KEY"),
    Matches(
        r"[@?#]",
        "a URI holds no @, ? or #: credentials belong in the Secret that storage.secretName "
        "names, a revision in its own field",
        unwanted=True,
    ),
    Matches(
        r"[\s{}<>|\\^`\"\x27]",
        "a URI holds no blanks, braces or quotes: fill in the placeholder, or rename the object",
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


def scheme_rule(what: str, schemes: tuple[str, ...]) -> Rule:
    """Refuses schemes that aren't built yet, apart from those that never will be."""
    built = " || ".join(f"self.uri.startsWith('{scheme}://')" for scheme in BUILT_SCHEMES)
    later = ", ".join(f"{scheme}://" for scheme in schemes if scheme not in BUILT_SCHEMES)
    return Rule(
        built,
        f"{what} are read from s3:// and file:// only so far ({later} aren't built yet): copy it "
        "to S3 and name it as s3://BUCKET/KEY",
        field=".uri",
    )
