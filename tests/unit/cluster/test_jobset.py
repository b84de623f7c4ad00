"""JobSet's controller beside a cluster: what it and the API server are told."""

from pathlib import Path

from luthier_cluster import binaries, jobset
from luthier_cluster.layout import Layout

LAYOUT = Layout("demo", 7)


def test_it_listens_in_its_cluster_alone() -> None:
    settings = jobset.configuration(LAYOUT.address, Path("/certificates"))
    assert settings["webhook"]["host"] == LAYOUT.address
    assert settings["health"]["healthProbeBindAddress"].startswith(f"{LAYOUT.address}:")
    assert settings["metrics"]["bindAddress"] == "0"


def test_the_api_server_asks_it_about_jobsets_and_their_pods_alone() -> None:
    configurations = list(jobset.webhooks(LAYOUT, b"authority"))
    assert [it["kind"] for it in configurations] == [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ]
    for verb, configuration in zip(("mutate", "validate"), configurations, strict=True):
        of_job_sets, of_pods = configuration["webhooks"]
        url = f"https://{LAYOUT.address}:{jobset.PORT}/{verb}-"
        assert of_job_sets["clientConfig"]["url"] == f"{url}jobset-x-k8s-io-v1alpha2-jobset"
        assert of_pods["clientConfig"]["url"] == f"{url}-v1-pod"
        assert "objectSelector" not in of_job_sets
        assert of_pods["objectSelector"]["matchExpressions"][0]["operator"] == "Exists"


def test_its_kind_is_of_the_version_that_is_built() -> None:
    [named] = [
        line.split()
        for line in (binaries.MODULES / "jobset" / "go.mod").read_text().splitlines()
        if line.strip().startswith("sigs.k8s.io/jobset ")
    ]
    assert "@".join(named[:2]) == binaries.JOBSET_MODULE
