"""examples/gitops as it stands, followed by Flux itself."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import clusters
import pytest
import yaml
from integration import flux, test_optimize
from integration.engines import GITOPS
from integration.flux import NAMESPACE, Repository
from integration.kube import PATHS, Kube, Obj, eventually
from integration.kubelet import Kubelet, node
from integration.operatorprocess import OperatorProcess, make_lease
from integration.user import OPTIMIZE_JOB, User, published, train

from luthier_cluster import Cluster, gitops

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

STAGING, PRODUCTION = "support-staging", "support-production"
_FLUX = {
    "kustomizations": "/apis/kustomize.toolkit.fluxcd.io/v1",
    "gitrepositories": "/apis/source.toolkit.fluxcd.io/v1",
}


@dataclass(frozen=True)
class Fleet:
    """A cluster that Flux keeps as a repository says, and the nodes of its teams."""

    kube: Kube
    repository: Repository

    def sync(self) -> None:
        """`flux reconcile`: don't wait for the interval."""
        asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(time.time())}}}
        self.kube.patch("gitrepositories", NAMESPACE, "models", asked)
        for name in (STAGING, PRODUCTION):
            self.kube.patch("kustomizations", NAMESPACE, name, asked)

    def told(self, name: str) -> tuple[str, str]:
        """Reason and message of a Kustomization's Ready."""
        return flux.ready(self.kube.get("kustomizations", NAMESPACE, name))

    def at(self, name: str, commit: str) -> None:
        """Wait until a Kustomization is ready at that commit."""

        def check() -> bool:
            obj = self.kube.get("kustomizations", NAMESPACE, name)
            applied = obj["status"].get("lastAppliedRevision", "")
            assert applied.endswith(commit), (applied, flux.ready(obj))
            assert flux.ready(obj)[0] == "ReconciliationSucceeded", flux.ready(obj)
            return True

        eventually(check, 90)

    def edit(self, file: str, change: Callable[[Any], None]) -> None:
        """Change a YAML file of the working copy."""
        path = self.repository.folder / file
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Of the layout, only the repository's address is replaced, by one of this machine."""
    folder = tmp_path_factory.mktemp("flux")
    repository = Repository(folder, GITOPS)
    with (
        Cluster(clusters.own("flux"), "control-plane") as cluster,
        flux.git_server(repository.served) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        for plural, path in _FLUX.items():
            patch.setitem(PATHS, plural, path)
        clusters.apply_crds(cluster)
        for folder_of_kinds in gitops.of_flux():
            cluster.kubectl("apply", "--server-side", "-f", str(folder_of_kinds))
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("apply", "-f", str(GITOPS / "namespaces.yaml"))
        kube = Kube(str(cluster.kubeconfig))
        make_lease(kube)
        repository.commit("As it is shipped")
        source = (GITOPS / "flux/source.yaml").read_text()
        assert "https://git.example.com/models.git" in source
        here = source.replace("https://git.example.com/models.git", url)
        cluster.kubectl("apply", "-f", "-", input=here)
        with (
            node(kube),
            OperatorProcess(cluster.kubeconfig, tmp_path_factory.mktemp("operator")),
            flux.controllers(cluster, folder),
        ):
            for name in (STAGING, PRODUCTION):
                cluster.kubectl("apply", "-f", str(GITOPS / f"flux/{name}.yaml"))
            yield Fleet(kube, repository)


def users(fleet: Fleet, stage: str) -> tuple[User, User, Kubelet]:
    """Whoever looks at a stage's FineTuneJobs and OptimizeJobs, and its node."""
    kube = fleet.kube
    return User(kube, stage), User(kube, stage, OPTIMIZE_JOB), Kubelet(kube, stage)


def work(fleet: Fleet, stage: str) -> str:
    """Train and optimise what a stage asks for now; the revision."""
    user, optimizer, kubelet = users(fleet, stage)
    before = optimizer.status("classifier").get("jobName")
    train(user, kubelet, "classifier")
    job = optimizer.job("classifier", besides=before)["metadata"]["name"]
    test_optimize.finish(optimizer, kubelet, job, "classifier")
    return str(user.status("classifier")["revision"])


def going_on(user: User, revision: str) -> Obj | None:
    """The status of the run of a revision, once it has a Job."""
    status = user.status("classifier")
    return status if status["revision"].startswith(revision) and "jobName" in status else None


def versions(fleet: Fleet) -> dict[tuple[str, str], str]:
    """The resource version of all that Flux applied."""
    return {
        (plural, stage): it["metadata"]["resourceVersion"]
        for plural in ("finetunejobs", "optimizejobs")
        for stage in (STAGING, PRODUCTION)
        for it in fleet.kube.list(plural, stage)
    }


def test_a_team_works_by_git_alone(fleet: Fleet) -> None:
    staging, optimizer, kubelet = users(fleet, STAGING)
    production, _, _ = users(fleet, PRODUCTION)
    commit = fleet.repository.head()

    # A commit makes a run, and isn't there before that is done; production comes after staging.
    eventually(lambda: staging.status("classifier").get("jobName"), 90)
    assert fleet.told(STAGING)[0] == "Progressing"
    assert fleet.kube.list("finetunejobs", PRODUCTION) == []
    first = work(fleet, STAGING)
    fleet.at(STAGING, commit)
    eventually(lambda: production.status("classifier").get("jobName"), 90)
    work(fleet, PRODUCTION)
    fleet.at(PRODUCTION, commit)

    # To sync again changes nothing, for ever.
    before = versions(fleet)
    fleet.sync()
    fleet.at(STAGING, commit)
    fleet.at(PRODUCTION, commit)
    time.sleep(3)
    assert versions(fleet) == before

    # Other data is another revision; what is in use stays until that is published.
    def other_data(document: Obj) -> None:
        (patch,) = document["patches"]
        patch["patch"] = patch["patch"].replace("tickets.jsonl", "tickets-2.jsonl")

    fleet.edit("teams/support/base/kustomization.yaml", other_data)
    commit = fleet.repository.commit("Newer tickets")
    fleet.sync()
    eventually(lambda: staging.status("classifier")["revision"].startswith("r2-"), 90)
    assert staging.status("classifier")["inUse"]["revision"] == first
    assert work(fleet, STAGING).startswith("r2-")
    fleet.at(STAGING, commit)
    eventually(lambda: production.status("classifier")["revision"].startswith("r2-"), 90)
    work(fleet, PRODUCTION)
    fleet.at(PRODUCTION, commit)

    kept_artifact = staging.status("classifier")["artifact"]

    # What can't work is told where people look, and production isn't touched.
    def nowhere(document: Obj) -> None:
        document["spec"]["placement"] = {"pool": "elsewhere"}
        document["spec"]["training"]["learningRate"] = 0.01

    fleet.edit("base/finetunejob.yaml", nowhere)
    fleet.repository.commit("Into another team's pool")
    kept = production.kube.get("finetunejobs", PRODUCTION, "classifier")["metadata"]["generation"]
    fleet.sync()

    def failed() -> bool:
        reason, message = fleet.told(STAGING)
        return reason == "HealthCheckFailed" and "classifier" in message

    eventually(failed, 90)
    assert staging.condition("Stalled", "classifier")["reason"] == "PoolNotAllowed"
    now = production.kube.get("finetunejobs", PRODUCTION, "classifier")["metadata"]["generation"]
    assert now == kept

    # Taken back, all is well again, and nothing is trained: the run finds the result again.
    commit = fleet.repository.revert()
    fleet.sync()
    again = eventually(lambda: going_on(staging, "r4-"), 90)
    pod = kubelet.run(again["jobName"])
    found = published(again, staging, "classifier")
    kubelet.end(pod, 0, found | {"artifact": kept_artifact})
    fleet.at(STAGING, commit)
    assert staging.status("classifier")["inUse"]["revision"].startswith("r2-")

    # A commit that pins an earlier result rolls back, and what follows it goes along.
    def pinned(document: Obj) -> None:
        pin = [{"op": "add", "path": "/spec/promote", "value": {"pin": first}}]
        document["patches"] = [{"target": {"kind": "FineTuneJob"}, "patch": yaml.safe_dump(pin)}]

    before = optimizer.status("classifier")["jobName"]
    fleet.edit("teams/support/staging/kustomization.yaml", pinned)
    commit = fleet.repository.commit("Back to the first one")
    fleet.sync()
    eventually(lambda: staging.status("classifier")["inUse"]["revision"] == first, 90)
    eventually(lambda: optimizer.status("classifier").get("jobName") not in (None, before))
    job = optimizer.status("classifier")["jobName"]
    test_optimize.finish(optimizer, kubelet, job, "classifier")
    assert optimizer.status("classifier")["source"]["revision"] == first
    fleet.at(STAGING, commit)

    # What git has no more is gone, with its children.
    def without(document: Obj) -> None:
        document["resources"].remove("optimizejob.yaml")

    def without_its_patch(document: Obj) -> None:
        document["patches"] = [
            it for it in document["patches"] if it["target"]["kind"] != "OptimizeJob"
        ]

    fleet.edit("base/kustomization.yaml", without)
    fleet.edit("stages/production/kustomization.yaml", without_its_patch)
    commit = fleet.repository.commit("No more ONNX")
    fleet.sync()
    fleet.at(STAGING, commit)
    fleet.at(PRODUCTION, commit)
    eventually(lambda: not fleet.kube.list("optimizejobs", STAGING))
    assert staging.status("classifier")["phase"] == "Complete"
