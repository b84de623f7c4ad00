"""What the trainer says of a pod and a cluster, in the words of this machine. Pure.

The trainer's errors name the remedies of a cluster's user: a Secret, a pool, the pod's network.
`luthier run` has none of these.
"""

from collections.abc import Mapping
from typing import Any

from luthier_api.kinds import Kind
from luthier_api.result import RunError
from luthier_cli.shortcuts import instead

_MEMORY = "free memory on this machine"
# Longer ones first, where one holds another. Each stands in the trainer's code, as a test checks.
WORDS = {
    "or use a pool with more memory or a larger sharedMemory (which counts as memory)": (
        f"or {_MEMORY}"
    ),
    "use a pool with more memory (placement.pool)": _MEMORY,
    "use a pool with more memory": _MEMORY,
    "the pod's memory or its /dev/shm": "this machine's memory or its /dev/shm",
    "its pod": "this machine",
    "or use a pool with more ephemeral storage (its scratchSize, cacheSize, sharedMemory) or with "
    "a larger volume as cacheClaim": "or name another disk in TMPDIR, XDG_CACHE_HOME or --output",
    "(the pod's log has the traceback)": "(the log has the traceback)",
    "; the pod's log has the traceback)": "; the log has the traceback)",
    "reached from the pod (NetworkPolicy, proxy, DNS)": "reached from here (proxy, DNS)",
    "reached from the pod (NetworkPolicy, DNS)": "reached from here (proxy, DNS)",
    "give the pod its CA (SSL_CERT_FILE)": "name its CA in SSL_CERT_FILE",
    "give the pod the server's CA (SSL_CERT_FILE)": "name the server's CA in SSL_CERT_FILE",
    "put the token of that account into model.tokenSecretRef": (
        "set HF_TOKEN to the token of that account"
    ),
    "name a token with access in model.tokenSecretRef": "set HF_TOKEN to a token with access",
    ", or name another Secret": ", or take another key",
    "the Secret of storage.secretName (of `luthier run`: the environment)": (
        "the environment (AWS_PROFILE, if it isn't set there)"
    ),
    "name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in storage.secretName": (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"
    ),
}
_OF_STORAGE = (
    "NoCredentials",
    "StorageDenied",
    "StorageUnavailable",
    "BucketNotFound",
    "ObjectNotFound",
    "ModelNotFound",
    "DatasetNotFound",
)


def here(error: RunError, endpoint: str | None, kind: Kind, spec: Mapping[str, Any]) -> RunError:
    """The error with what helps on this machine. `endpoint`: the store's URL, if one is set."""
    message = error.message
    for words, ours in WORDS.items():
        message = message.replace(words, ours)
    if error.code in _OF_STORAGE and "s3://" in message:
        if not endpoint:
            message += "; a store other than AWS: its URL in --s3-endpoint"
        if other := instead(kind, spec, (error.param or "").removeprefix("spec.")):
            message += f"; or {other}"
    param = None if error.param == "placement.pool" else error.param
    return error.model_copy(update={"message": message[:1500], "param": param})
