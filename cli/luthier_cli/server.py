"""Check a manifest by a dry run on a cluster's API server: nothing is stored."""

import re
from collections.abc import Callable, Iterator
from functools import partial

from pydantic import ValidationError

from luthier_api.kinds import Kind
from luthier_cli.findings import Finding, identity, locate
from luthier_cli.kube import ApiError, Cluster, UnreachableError
from luthier_cli.offline import (
    check_document,
    kind_of,
    parse_spec,
    remedy_for_unknown,
    schedule_problems,
    uri_remedy,
)
from luthier_cli.offline import findings as located
from luthier_cli.yaml import Document

_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
# The API server says it of a custom resource whose fields are wrong.
_NOT_CHECKED = "some validation rules were not checked"


def checker(cluster: Cluster) -> Callable[[Document, str], list[Finding]]:
    """A check of documents against that cluster."""
    return partial(check_on_server, cluster)


def check_on_server(cluster: Cluster, document: Document, file: str) -> list[Finding]:
    """All that the API server has against a resource of ours. Raises CliError."""
    value = document.value
    kind = kind_of(value)
    if kind is None:
        # The API server would only say that it has no such resource.
        return check_document(document, file)
    namespace = (value.get("metadata") or {}).get("namespace") or cluster.namespace
    path = kind.collection(namespace)
    findings: dict[tuple[str, str], Finding] = {}
    # The strict run stops at unknown fields; the second one tells the rest.
    for strictness in ("Strict", "Ignore"):
        query = {"dryRun": "All", "fieldValidation": strictness}
        try:
            cluster.request("POST", path, query, value)
        except UnreachableError as error:
            raise cluster.explain(error, identity(value), namespace) from None
        except ApiError as error:
            if _is_known(error):
                break
            found = list(_findings(error, kind, document, file))
            if not found:
                raise cluster.explain(error, identity(value), namespace) from None
            findings |= {(finding.field, finding.message): finding for finding in found}
            if not _UNKNOWN_FIELD.search(str(error)):
                break
        else:
            break
    if not findings:
        return _beyond_the_schema(kind, document, file)
    return sorted(findings.values(), key=lambda finding: finding.line)


def _beyond_the_schema(kind: Kind, document: Document, file: str) -> list[Finding]:
    """What the API server takes, and the operator won't."""
    try:
        spec = parse_spec(kind, document.value.get("spec"))
    except ValidationError:  # of a cluster whose schema is another
        return []
    return located(document, file, schedule_problems(spec))


def _is_known(error: ApiError) -> bool:
    """The name is taken: the API server looks at that last, so the manifest is valid."""
    return error.code == 409 and error.status.get("reason") == "AlreadyExists"


def _findings(error: ApiError, kind: Kind, document: Document, file: str) -> Iterator[Finding]:
    if error.code == 404 and error.details.get("kind") == "namespaces":
        line = document.line(("metadata", "namespace"))
        name = error.details.get("name")
        yield Finding(
            file,
            line,
            "metadata.namespace",
            f"the namespace {name} doesn't exist",
            "create it, or name another with --namespace",
        )
        return
    if error.code not in (400, 422):
        return
    for field in _UNKNOWN_FIELD.findall(str(error)):
        path = locate(document, field)
        remedy = remedy_for_unknown(kind, path)
        yield Finding(file, document.line(path), field, "unknown field", remedy)
    for cause in error.details.get("causes", []):
        field, message = cause.get("field", ""), cause.get("message", "")
        if _NOT_CHECKED in message:
            continue
        field = "" if field == "<nil>" else field
        path, words = locate(document, field), _plain(message, field)
        remedy = uri_remedy(words, document.at(path))
        yield Finding(file, document.line(path), field, words, remedy)
    if error.code == 422 and not error.details.get("causes"):
        yield Finding(file, document.line(()), "", str(error))


def _plain(message: str, field: str) -> str:
    """Without what the API server puts before a message: a dump of the value, the field."""
    message = re.sub(
        r"^Invalid value: (\"object\"|\{.*\}|\"(?:[^\"\\]|\\.)*\"|[^:]*): (?=\S)", "", message
    )
    return message.removeprefix(f"{field} in body ")
