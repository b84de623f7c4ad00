"""Documents of published artifacts: in a folder, or in S3 with the credentials of the environment.

The only module of the command line that reads S3, by boto3 where that is installed.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier_cli.errors import CliError

MANIFEST = "manifest.json"
JOURNAL = "report/metrics.jsonl"
_MOST_BYTES = 64 * 2**20


def read(folder: str, name: str, endpoint: str | None = None) -> bytes:
    """A file of the artifact in `folder` (a URI, or a path). Raises CliError."""
    parts = urlsplit(folder)
    if parts.scheme == "s3":
        return _of_s3(parts.netloc, f"{parts.path.strip('/')}/{name}", endpoint)
    path = Path(parts.path if parts.scheme == "file" else folder) / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(
            f"can't read {path}: {error.strerror}", "name an artifact's folder"
        ) from None


def _of_s3(bucket: str, key: str, endpoint: str | None) -> bytes:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise CliError(
            f"s3://{bucket}/{key} can't be read without boto3", "install it: pip install boto3"
        ) from None
    try:
        client = boto3.client("s3", endpoint_url=endpoint)
        answer: Any = client.get_object(Bucket=bucket, Key=key)
        data: bytes = answer["Body"].read(_MOST_BYTES)
    except (BotoCoreError, ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        raise CliError(
            f"can't read s3://{bucket}/{key}: {code or type(error).__name__}",
            "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for another store than AWS, "
            "AWS_ENDPOINT_URL or --s3-endpoint",
        ) from None
    return data
