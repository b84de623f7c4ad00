"""S3 with the credentials of the environment, by boto3 where that is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from luthier_cli.errors import CliError

_KEYS = (
    "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for another store than AWS, "
    "AWS_ENDPOINT_URL or --s3-endpoint"
)


@cache
def client(endpoint: str | None = None) -> Any:
    """A client; `endpoint` by default AWS_ENDPOINT_URL, else AWS. Raises CliError without boto3."""
    try:
        import boto3
    except ImportError:
        raise CliError(
            "S3 can't be reached without boto3", "install it: pip install boto3"
        ) from None
    return boto3.client("s3", endpoint_url=endpoint)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Errors of boto3 → CliError: can't `what`, the store's word, and the remedy."""
    try:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        yield  # client() says so
        return
    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, ValueError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        raise CliError(f"can't {what}: {code or type(error).__name__}", _KEYS) from None
