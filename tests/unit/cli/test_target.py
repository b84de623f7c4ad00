"""NAME and KIND/NAME."""

import pytest

from luthier_cli.errors import CliError
from luthier_cli.target import parse_target


@pytest.mark.parametrize(
    ("text", "target", "argument"),
    [
        ("tone", "FineTuneJob tone", "tone"),
        ("ftj/tone", "FineTuneJob tone", "tone"),
        ("opj/tone", "OptimizeJob tone", "opj/tone"),
        ("OptimizeJob/tone", "OptimizeJob tone", "opj/tone"),
        ("adapterbundles/tones", "AdapterBundle tones", "ab/tones"),
        ("adapterbundles.luthier.dev/tones", "AdapterBundle tones", "ab/tones"),
    ],
)
def test_as_kubectl_reads_it(text: str, target: str, argument: str) -> None:
    found = parse_target(text)
    assert (str(found), found.argument) == (target, argument)


def test_its_path() -> None:
    path = "/apis/luthier.dev/v1alpha1/namespaces/team-a/optimizejobs/tone"
    assert parse_target("opj/tone").path("team-a") == path


@pytest.mark.parametrize("text", ["pod/tone", "opj/", "/tone"])
def test_other_kinds_are_refused(text: str) -> None:
    with pytest.raises(CliError) as refused:
        parse_target(text)
    assert "opj/NAME (OptimizeJob)" in refused.value.remedy
