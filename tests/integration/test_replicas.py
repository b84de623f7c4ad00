"""Two operators on one API server: one leads, the other is warm and takes over."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import LEASE, OperatorProcess
from integration.test_faults import _burst, _one_job_each
from integration.test_progress import post, report, token
from integration.user import User, published

from luthier_cluster import Cluster

# Long enough for a busy machine, short enough to wait for.
TIMES = LEASE_SECONDS, _, _ = (8, 6, 1)
# A look of the standby's, and what a busy machine adds.
LOOK = 2.0

Pair = tuple[OperatorProcess, OperatorProcess]


@pytest.fixture(scope="module")
def processes(
    control_plane: Cluster,
    kube: Kube,
    shared_operator: OperatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Two replicas of one release."""
    if shared_operator.running:
        shared_operator.kill(signal.SIGTERM)
    with (
        OperatorProcess(
            control_plane.kubeconfig, tmp_path_factory.mktemp("one"), times=TIMES
        ) as one,
        OperatorProcess(
            control_plane.kubeconfig, tmp_path_factory.mktemp("two"), times=TIMES
        ) as two,
    ):
        yield one, two


@pytest.fixture
def pair(processes: Pair) -> Pair:
    """The leader, and the standby."""
    for process in processes:
        if not process.running:
            process.start()

    def roles() -> Pair | None:
        leading = [process.leads for process in processes]
        if leading == [True, False]:
            return processes
        return (processes[1], processes[0]) if leading == [False, True] else None

    return eventually(roles)


def until(check: Callable[[], bool], within: float) -> float:
    """Wait for it; seconds that it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < within, f"not within {within} s"
        time.sleep(0.02)
    return time.monotonic() - began


def test_one_leads_and_the_other_is_ready_with_a_warm_store(
    pair: Pair, kube: Kube, user: User
) -> None:
    leader, standby = pair
    user.create()
    user.job()
    user.phase("Pending")
    assert leader.probe("readyz") == standby.probe("readyz") == 200
    lease = kube.get("leases", *LEASE)
    assert lease["metadata"]["annotations"]["luthier.dev/receiver"] == leader.progress_url
    assert lease["spec"]["holderIdentity"].startswith(f"operator-{leader.progress_port}_")
    run = f'namespace="{user.namespace}"'
    assert any(run in name for name in leader.metrics())
    shown = standby.metrics()
    assert not [name for name in shown if "luthier_run_" in name]
    assert shown["luthier_operator_queue_depth"] == 0
    seen = 'luthier_operator_watch_events_total{resource="jobs"}'
    assert shown[seen] > 0
    writes = 'luthier_operator_api_writes_total{resource="jobs",verb="create"}'
    assert writes in leader.metrics()
    assert "luthier_operator_reconciles_total" not in "".join(
        name for name, value in shown.items() if value
    )


def test_a_report_to_the_standby_reaches_status_and_the_leaders_metrics(
    pair: Pair, kube: Kube, user: User, kubelet: Kubelet
) -> None:
    leader, standby = pair
    user.create()
    pod = kubelet.run(user.job()["metadata"]["name"])
    user.phase("Running")
    bearer = token(kube, pod)
    assert post(standby, bearer, report(user, pod)) == 204
    assert eventually(lambda: user.status().get("progress"))["step"] == 40
    labels = f'kind="FineTuneJob",name="tone",namespace="{user.namespace}",pool="cpu"'
    assert leader.metrics()[f"luthier_run_step{{{labels}}}"] == 40
    # The leader's no is the answer, too, and who has no good token gets no further.
    assert post(standby, bearer, b"{") == 400
    assert post(standby, "nonsense", report(user, pod)) == 401
    answers = 'luthier_operator_progress_reports_total{{code="{}"}}'
    eventually(lambda: leader.metrics().get(answers.format(400)))
    assert answers.format(401) not in leader.metrics()
    kubelet.end(pod, 0, published(user.status(), user))
    user.phase("Complete")
    assert post(standby, bearer, report(user, pod, 2)) == 409


def test_a_leader_that_is_ended_hands_over_at_once(
    pair: Pair, user: User, kube: Kube, record_property: Callable[[str, object], None]
) -> None:
    leader, standby = pair
    user.create()
    user.job()
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(leader.kill, signal.SIGTERM)
        until(lambda: standby.leads, LOOK)
        record_property("hand_over_seconds", time.monotonic() - began)
        ended.result()
    user.change(suspend=True)
    eventually(lambda: user.job()["spec"]["suspend"] is True)
    assert kube.get("leases", *LEASE)["metadata"]["annotations"] == {
        "luthier.dev/receiver": standby.progress_url
    }


def test_a_leader_that_is_killed_is_followed_when_its_lease_has_run_out(
    pair: Pair, user: User, kube: Kube, kubelet: Kubelet
) -> None:
    leader, standby = pair
    user.create()
    pod = kubelet.run(user.job()["metadata"]["name"])
    user.phase("Running")
    leader.kill()
    # Nobody leads: the report is lost, as the trainer knows at once, and the next one isn't.
    began = time.monotonic()
    assert post(standby, token(kube, pod), report(user, pod, 1)) == 503
    assert time.monotonic() - began < LOOK
    until(lambda: standby.leads, LEASE_SECONDS + LOOK)
    assert post(standby, token(kube, pod), report(user, pod, 2)) == 204
    eventually(lambda: user.status()["progress"]["step"] == 40)


AGAIN = [pytest.param(number / 10, marks=pytest.mark.faults) for number in range(15)]


@pytest.mark.parametrize("delay", [0.5, *AGAIN])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_in_a_burst_nothing_is_created_twice(
    pair: Pair, user: User, sig: signal.Signals, delay: float
) -> None:
    leader, standby = pair
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(_burst, user, 40)
        time.sleep(delay)
        leader.kill(sig)
        names = burst.result()
    eventually(lambda: _one_job_each(user, names), 60)

    def all_told() -> bool:
        items: list[Obj] = user.kube.list(user.kind.plural, user.namespace)
        return all((it.get("status") or {}).get("jobName") for it in items)

    eventually(all_told)
    assert standby.leads
