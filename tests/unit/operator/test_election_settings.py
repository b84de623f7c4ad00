"""The times of the Lease are refused where they would allow two leaders."""

import pytest

from luthier_operator.config import ConfigError, Election, read_settings


def test_by_default_they_are_client_gos() -> None:
    settings = read_settings({})
    assert settings.election == Election("luthier-system", "luthier", 15, 10, 2)
    assert settings.pod_ip == "127.0.0.1"
    assert settings.pod_name


def test_all_can_be_said() -> None:
    settings = read_settings(
        {
            "POD_NAMESPACE": "ml",
            "POD_NAME": "ml-luthier-0",
            "POD_IP": "10.0.0.5",
            "LUTHIER_LEASE_NAME": "ml-luthier",
            "LUTHIER_LEASE_SECONDS": "30",
            "LUTHIER_RENEW_SECONDS": "20",
            "LUTHIER_RETRY_SECONDS": "5",
        }
    )
    assert settings.election == Election("ml", "ml-luthier", 30, 20, 5)
    assert (settings.pod_name, settings.pod_ip) == ("ml-luthier-0", "10.0.0.5")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ((10, 10, 2), "LUTHIER_LEASE_SECONDS=10 must be more than LUTHIER_RENEW_SECONDS=10"),
        ((15, 6, 5), "LUTHIER_RENEW_SECONDS=6 must be more than 1.2 times LUTHIER_RETRY_SECONDS=5"),
        ((2, 2, 1), "LUTHIER_LEASE_SECONDS='2': a number from 3"),
        ((15, 10, 0), "LUTHIER_RETRY_SECONDS='0': a number from 1"),
    ],
)
def test_wrong_ones_are_refused_by_name(seconds: tuple[int, int, int], words: str) -> None:
    names = ("LUTHIER_LEASE_SECONDS", "LUTHIER_RENEW_SECONDS", "LUTHIER_RETRY_SECONDS")
    with pytest.raises(ConfigError) as refused:
        read_settings(dict(zip(names, map(str, seconds), strict=True)))
    assert words in str(refused.value)
