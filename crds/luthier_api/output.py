"""Where results go, and with whose credentials."""

from pydantic import Field

from luthier_api.meta import Model, ObjectName, Rule
from luthier_api.uris import Uri


class Output(Model):
    """Where results go."""

    uri: Uri = Field(
        description="Results lie below it, under NAMESPACE/NAME/REVISION/. s3:// (file:// with "
        "`luthier run`)."
    )

    rules = (
        Rule(
            "self.uri.startsWith('s3://')",
            "results go to S3: name the output as s3://BUCKET/PREFIX",
            field=".uri",
        ),
        # S3 keys end at 1,024 bytes, and much comes below.
        Rule(
            "self.uri.size() <= 512",
            "the output's URI is too long: use at most 512 characters",
            field=".uri",
        ),
    )


class StorageAccess(Model):
    """Access to S3, with the namespace's own credentials."""

    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Left out: the "
        "namespace's default in luthier.yaml.",
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="Service account of the pods, e.g. one bound to a cloud identity. Left out: "
        "the namespace's default.",
    )
