"""What lies behind a failed transfer, in our own words: a library's text may quote what it was
given, a header with a token among it."""

import errno
import http.client
import json
import os
import re
import socket
import ssl
import urllib.error
from collections.abc import Iterator

_PROXY = re.compile(r"Tunnel connection failed: (\d{3})")
_DEPTH = 10
# Of libraries that needn't be installed here, by name.
_BY_NAME = {
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "IncompleteRead": "the transfer broke off",
    "IncompleteReadError": "the transfer broke off",
    "ProtocolError": "the connection broke off",
    "ConnectionClosedError": "the connection broke off",
    "ResponseStreamingError": "the connection broke off",
    "FlexibleChecksumError": "what came has another checksum than was sent",
    "ProxyConnectionError": "no connection to the proxy",
    "KeyError": "the answer isn't S3's",
    "ResponseParserError": "the answer isn't S3's",
    "EndpointConnectionError": "no connection",
}


def cause(error: BaseException) -> str:
    """What happened, in a few words, without anything that a library quotes."""
    chain = list(_chain(error))
    for each in chain:
        if words := _of(each):
            return words
    for each in chain:
        if words := _BY_NAME.get(type(each).__name__):
            return words
    return type(error).__name__


def certificate_refused(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refusal of the server's certificate that lies behind an error."""
    return next((e for e in _chain(error) if isinstance(e, ssl.SSLCertVerificationError)), None)


def lacks_a_file(error: BaseException) -> bool:
    """Whether a file of this machine isn't there: of a CA, say."""
    return any(isinstance(each, FileNotFoundError) for each in _chain(error))


def tls_failed(error: BaseException) -> bool:
    """Whether the two couldn't agree on TLS at all."""
    return any(isinstance(e, ssl.SSLError) and not _broke_off(e) for e in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised for, the outermost first."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _DEPTH:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        arguments = getattr(each, "kwargs", None)
        waiting += [
            arguments.get("error") if isinstance(arguments, dict) else None,
            getattr(each, "reason", None),
            each.__cause__,
            each.__context__,
        ]


def _of(error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate isn't trusted ({error.verify_message})"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "RECORD_LAYER_FAILURE"):
            return "it doesn't speak TLS"
        case ssl.SSLError():
            return f"TLS: {(error.reason or 'the connection broke off').replace('_', ' ').lower()}"
        case socket.gaierror():
            return "its name can't be resolved"
        case TimeoutError():
            return "no answer in time"
        case http.client.RemoteDisconnected() | http.client.IncompleteRead():
            return "the connection broke off"
        case http.client.InvalidURL():
            return "the address isn't valid"
        case http.client.HTTPException():
            return "the answer isn't HTTP"
        case json.JSONDecodeError():
            return "the answer isn't JSON"
        case urllib.error.URLError() | None:
            return None
        case OSError() if found := _PROXY.search(str(error)):
            return f"the proxy answers HTTP {found.group(1)}"
        case OSError(errno=number) if number:
            return os.strerror(number).lower()
    return None


def _broke_off(error: ssl.SSLError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or error.errno in (
        errno.ECONNRESET,
        errno.EPIPE,
    )
