"""Whatever stands in an Authorization header: refused, and reviewed only if it may be ours."""

import base64
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from unit.operator.test_fuzz_reports import JSON
from unit.operator.test_reports import Reviewer

from luthier_operator.tokens import Authenticator, Refused

QUICK = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def token_of(payload: bytes) -> str:
    return f"h.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.s"


CLAIMS = st.fixed_dictionaries({"aud": JSON}, optional={"exp": JSON}).map(json.dumps)
HEADERS = (
    st.text(max_size=300)
    | st.text(max_size=300).map(lambda text: f"Bearer {text}")
    | st.binary(max_size=300).map(lambda payload: f"Bearer {token_of(payload)}")
    | CLAIMS.map(lambda claims: f"bearer {token_of(claims.encode(errors='replace'))}")
)


@QUICK
@given(HEADERS)
@example(f"Bearer {token_of(b'[' * 5_900)}")
@example("Bearer a.\udcff.c")
@example("Bearer " + "a." * 3_000)
async def test_a_strangers_header_is_refused(header: str) -> None:
    reviewer = Reviewer()
    reviewer.answer["authenticated"] = False
    with pytest.raises(Refused) as refused:
        await Authenticator(reviewer).caller(header, "10.0.0.1")
    assert refused.value.code == 401
    assert reviewer.asked <= ("bearer " in header.lower())


@QUICK
@given(JSON)
@example(10**400)
@example(float("nan"))
@example(float("inf"))
@example(True)
@example(-(2**70))
async def test_the_end_that_a_good_token_names_only_shortens_the_cache(end: object) -> None:
    reviewer, now = Reviewer(), 1000.0
    authenticator = Authenticator(reviewer, lambda: now)
    claims = json.dumps({"aud": "luthier.dev/progress", "exp": end})
    header = f"Bearer {token_of(claims.encode(errors='replace'))}"
    assert (await authenticator.caller(header, "10.0.0.1")).pod == "pod"
    now += 61
    await authenticator.caller(header, "10.0.0.1")
    assert reviewer.asked == 2
