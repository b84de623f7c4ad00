"""What an error of S3 means, whether time heals it, and what to do about it."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.causes import cause, certificate_refused, lacks_a_file, tls_failed
from luthier_trainer.storage.uri import shown

Kind = Literal[
    "transient", "missing", "conflict", "bucket", "bucketname", "denied", "key", "signature",
    "expired", "skew", "region", "credentials", "certificate", "tls", "settings", "answer", "other",
]  # fmt: skip

# Error code of S3 → what it means. Those of HEAD are mere numbers: its answer has no body.
_CODES: dict[str, Kind] = {
    **dict.fromkeys(("NoSuchBucket",), "bucket"),
    **dict.fromkeys(("InvalidBucketName",), "bucketname"),
    **dict.fromkeys(("NoSuchKey", "NotFound", "404"), "missing"),
    **dict.fromkeys(
        ("AccessDenied", "AccountProblem", "AllAccessDisabled", "Forbidden", "NotSignedUp",
         "Unauthorized", "UnauthorizedAccess", "401", "403"), "denied"
    ),
    **dict.fromkeys(("InvalidAccessKeyId", "InvalidSecurity"), "key"),
    **dict.fromkeys(("SignatureDoesNotMatch",), "signature"),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestExpired",
         "TokenRefreshRequired"), "expired"
    ),
    **dict.fromkeys(("RequestTimeTooSkewed",), "skew"),
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion",
         "PermanentRedirect", "Redirect", "TemporaryRedirect", "301", "302", "307", "308"), "region"
    ),
    **dict.fromkeys(("PreconditionFailed", "ConditionalRequestConflict", "412"), "conflict"),
    **dict.fromkeys(
        ("RequestLimitExceeded", "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException",
         "TooManyRequests", "429"), "transient"
    ),
    **dict.fromkeys(("MethodNotAllowed", "NotImplemented", "405", "501"), "other"),
}  # fmt: skip
# Exceptions of botocore, by name, where no error underneath tells more.
_NAMES: dict[str, Kind] = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
                     "TokenRetrievalError", "ProfileNotFound"), "credentials"),
    # Of a redirect botocore asks where to, and may be told by the same redirect, for ever.
    **dict.fromkeys(("InvalidRegionError", "NoRegionError", "RecursionError"), "region"),
    **dict.fromkeys(("ParamValidationError",), "bucketname"),
    # The latter: what every answer of S3 has is missing.
    **dict.fromkeys(("ResponseParserError", "KeyError"), "answer"),
    **dict.fromkeys(("ConnectionError", "HTTPClientError", "IncompleteReadError",
                     "ResponseStreamingError", "FlexibleChecksumError", "TimeoutError",
                     "RetriesExceededError"), "transient"),
    **dict.fromkeys(("ValueError",), "settings"),  # of a value that can't be sent
}  # fmt: skip
_RIGHTS = {
    "CopyObject": "s3:GetObject and s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
_SECRET = "the Secret of storage.secretName (of `luthier run`: the environment)"  # noqa: S105
_WORD = re.compile(r"[A-Za-z0-9.]{1,64}")
_REGION = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True)
class Fault:
    """An error, classified. `code`, `region`: S3's own words, where they are plain words."""

    kind: Kind
    words: str
    code: str = ""
    operation: str = ""
    region: str = ""


def classify(error: BaseException) -> Fault:
    """What an exception of boto3 means."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError

    if isinstance(error, S3UploadFailedError) and isinstance(error.__context__, Exception):
        error = error.__context__
    if isinstance(error, ClientError):
        return _answered(error)
    words = cause(error)
    if refused := certificate_refused(error):
        return Fault("certificate", cause(refused))
    if lacks_a_file(error):
        return Fault("settings", words)
    if tls_failed(error):
        return Fault("tls", words)
    if isinstance(error, RecursionError):
        words = "S3 redirects"
    for parent in type(error).__mro__:
        if kind := _NAMES.get(parent.__name__):
            return Fault(kind, words)
    return Fault("other", words)


def _answered(error: Any) -> Fault:
    fault = error.response.get("Error", {})
    about = error.response.get("ResponseMetadata", {})
    code, status = str(fault.get("Code", "")), about.get("HTTPStatusCode", 0)
    kind = _CODES.get(code) or ("transient" if status >= 500 else "other")
    words = f"S3 answers {code}"
    if code.isdigit() and not str(error.operation_name).startswith("Head"):
        # S3 has a word for it, and a document around that.
        words = f"what answers isn't S3 (HTTP {code})"
        kind = "answer" if kind == "missing" else kind
    region = str(fault.get("Region") or about.get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))
    return Fault(
        kind,
        words=words if _WORD.fullmatch(code) else f"S3 answers HTTP {status}",
        code=code if _WORD.fullmatch(code) else f"HTTP {status}",
        operation=str(error.operation_name),
        region=region if _REGION.fullmatch(region) else "",
    )


def failure(
    fault: Fault, what: str, uri: str, bucket: str, endpoint: str | None, seconds: int, param: str
) -> TrainerError:
    """The error that ends the run: what couldn't be done, where, why, and the remedy."""
    at = shown(endpoint) if endpoint else "AWS"
    code, exit_code, problem = _in_words(fault, bucket, at, seconds)
    if fault.kind in ("bucket", "bucketname"):
        return TrainerError(exit_code, code, f"s3://{bucket}: {problem}", param)
    return TrainerError(exit_code, code, f"{uri}: could not {what}: {problem}", param)


def _in_words(fault: Fault, bucket: str, at: str, seconds: int) -> tuple[str, ExitCode, str]:
    denied, settings = ExitCode.DENIED, ExitCode.INVALID_RUN_SPEC
    match fault.kind:
        case "bucket":
            return (
                "BucketNotFound",
                ExitCode.NOT_FOUND,
                f"no such bucket at {at}; create it, or correct the URI",
            )
        case "bucketname":
            return (
                "BucketNotFound",
                ExitCode.NOT_FOUND,
                "S3 has no buckets of such a name; correct the URI",
            )
        case "missing":
            return "ObjectNotFound", ExitCode.NOT_FOUND, "no such object; correct the URI"
        case "denied":
            right = _RIGHTS.get(fault.operation, "s3:PutObject")
            return (
                "StorageDenied",
                denied,
                f"{fault.words}: the key may not; give the key in {_SECRET} the right {right} on "
                f"the bucket {bucket}, or name another Secret",
            )
        case "key":
            return (
                "StorageDenied",
                denied,
                f"{at} doesn't know the access key ({fault.code}); correct AWS_ACCESS_KEY_ID in "
                f"{_SECRET}, or the endpoint",
            )
        case "signature":
            return (
                "StorageDenied",
                denied,
                f"the secret key isn't that of the access key ({fault.code}); correct "
                f"AWS_SECRET_ACCESS_KEY in {_SECRET}; where it is right, look for a proxy on the "
                "way that changes requests",
            )
        case "expired":
            return (
                "StorageDenied",
                denied,
                f"the session token is not, or no longer, valid ({fault.code}); put fresh "
                f"credentials into {_SECRET}, and leave AWS_SESSION_TOKEN out for lasting keys",
            )
        case "skew":
            return (
                "StorageDenied",
                denied,
                f"the clocks of this machine and of {at} are too far apart ({fault.code}); set "
                "the node's (NTP), then retry",
            )
        case "region":
            region = f" (it is in {fault.region})" if fault.region else ""
            return (
                "StorageMisconfigured",
                settings,
                f"{fault.words}: the bucket {bucket} is in another region{region}, or has "
                "another address; set storage.region and storage.endpoint of luthier.yaml (of "
                "`luthier run`: --s3-region, --s3-endpoint)",
            )
        case "credentials":
            return (
                "NoCredentials",
                denied,
                "no credentials for S3; name a Secret with AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY in storage.secretName",
            )
        case "certificate":
            return (
                "UntrustedServer",
                denied,
                f"{at}: {fault.words}; give the pod its CA (ca of the pool in luthier.yaml; of "
                "`luthier run`: AWS_CA_BUNDLE)",
            )
        case "tls":
            return (
                "StorageMisconfigured",
                settings,
                f"{at}: {fault.words}; correct storage.endpoint of luthier.yaml (of `luthier "
                "run`: --s3-endpoint): http:// or https://, and the port; or the CA's file",
            )
        case "settings":
            return (
                "StorageMisconfigured",
                settings,
                f"the request to {at} can't be made ({fault.words}); correct storage.endpoint and "
                f"the CA in luthier.yaml (of `luthier run`: --s3-endpoint, AWS_CA_BUNDLE), and the "
                f"keys in {_SECRET}",
            )
        case "answer":
            return (
                "StorageMisconfigured",
                settings,
                f"what answers at {at} isn't S3; correct storage.endpoint of luthier.yaml (of "
                "`luthier run`: --s3-endpoint)",
            )
        case "transient":
            return (
                "StorageUnavailable",
                ExitCode.STORAGE_UNAVAILABLE,
                f"for {seconds} s: {fault.words}; check that {at} runs and can be reached from "
                "the pod (NetworkPolicy, DNS), then retry",
            )
    return (
        "StorageError",
        ExitCode.INTERNAL,
        f"{fault.words}; what {at} logs about it may tell more",
    )
