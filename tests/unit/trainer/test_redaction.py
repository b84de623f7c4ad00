"""Secrets in other people's texts: whole, cut, escaped or encoded, they are hidden."""

import base64
import json
import os
import sys
import threading
from urllib.parse import quote

import pytest

from luthier_api.result import ExitCode, RunEnd, RunError
from luthier_trainer import redaction
from luthier_trainer.errors import TrainerError, from_exception
from luthier_trainer.log import log
from luthier_trainer.redaction import HIDDEN, is_secret, redacted, redacted_values, remember

SECRET = "wJalr/XUtn+FEMI K7MDENG=bPxRfiCYzQ9"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", PEM)
    monkeypatch.setenv("HTTPS_PROXY", "http://anne:pr0xy-Passw%40rd@proxy.example.com:3128")


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        repr(SECRET.encode()),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        SECRET[:20],  # cut by who quotes it
        SECRET[-15:],
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"anne:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"x{SECRET}".encode()).decode(),
        SECRET.encode().hex(),
        json.dumps({"key": SECRET}),
        f"Invalid header value {PEM.encode()!r}",
        "MIIEvQIBADANBgkq",  # a line of it
        "Failed to parse: http://anne:pr0xy-Passw%40rd@proxy.example.com:3128/",
        "password pr0xy-Passw@rd refused",
    ],
)
def test_no_form_of_a_secret_is_left(text: str) -> None:
    left = redacted(f"before {text} after")
    assert HIDDEN in left
    assert left.startswith("before ")
    for secret in (SECRET, PEM, "pr0xy-Passw@rd", "pr0xy-Passw%40rd", "MIIEvQIBADAN"):
        for form in (secret, secret.encode().hex(), quote(secret, safe="").lower()):
            assert form[:12] not in left
            assert form[-12:] not in left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://user:password@host/x", f"https://{HIDDEN}@host/x"),
        ("b'Bearer hf_0123456789abc'", f"b'Bearer {HIDDEN}'"),
        ("AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=0a", f"AWS4-HMAC-SHA256 {HIDDEN}"),
        ("s3/x?X-Amz-Signature=0a1b&y=1", f"s3/x?X-Amz-Signature={HIDDEN}&y=1"),
    ],
)
def test_shapes_of_secrets_that_nobody_told(text: str, left: str) -> None:
    assert redacted(text) == left


def test_what_is_no_secret_stays() -> None:
    text = "s3://datasets/tones.jsonl: the row 3 has no 'label'; see https://host/path?page=2"
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("AWS_SESSION_TOKEN", True),
        ("AWS_ACCESS_KEY_ID", True),
        ("WANDB_API_KEY", True),
        ("DB_PASSWORD", True),
        ("DB_PASS", True),
        ("PGPASSWORD", True),
        ("MYSQL_PWD", True),
        ("SSHPASS", True),
        ("AZURE_STORAGE_KEY", True),
        ("AZURE_STORAGE_CONNECTION_STRING", True),
        ("GITHUB_PAT", True),
        ("REDISCLI_AUTH", True),
        ("session_jwt", True),
        ("PWD", False),
        ("OLDPWD", False),
        ("PATH", False),
        ("PYTHONPATH", False),
        ("SSH_AUTH_SOCK", False),
        ("SSL_KEY_FILE", False),
        ("COMPASS", False),
        ("MONKEY", False),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", False),
    ],
)
def test_variables_are_told_by_their_names(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_logs_errors_and_results_go_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    log(f"could not send {SECRET}")
    told = TrainerError(ExitCode.DATA, "X", f"{'x' * 1490} {SECRET}")
    defect = from_exception(ValueError(f"Invalid header value {PEM.encode()!r}"))
    error = RunError(code="X", message=f"see {SECRET}")
    end = redacted_values(RunEnd(revision="r", attempt=1, outcome="Failed", error=error))
    texts = [capsys.readouterr().err, str(told), told.error.message, defect.error.message]
    for text in [*texts, end.to_bytes().decode()]:
        assert "wJalr" not in text
        assert "MIIE" not in text


def test_a_secret_that_libraries_quote_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIG_SECRET", "".join(f"{n:08x}" for n in range(100_000)))
    assert HIDDEN in redacted("x" * 200_000 + "".join(f"{n:08x}" for n in range(100)))


def test_another_thread_may_set_variables_and_remember_secrets_meanwhile() -> None:
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            os.environ["LUTHIER_TEST_CHANGES"] = "x"
            remember(f"secret-of-a-test-{number % 20:09}")
            del os.environ["LUTHIER_TEST_CHANGES"]

    changing = threading.Thread(target=change)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    remembered = set(redaction._remembered)
    changing.start()
    try:
        for _ in range(200):
            assert redacted("nothing to hide") == "nothing to hide"
    finally:
        ended.set()
        changing.join()
        sys.setswitchinterval(before)
        redaction._remembered.clear()
        redaction._remembered.update(remembered)
