"""The objects of a run."""

from typing import Any

from unit.operator.builders import CODE, OWNER, SPEC, platform, spec

from luthier_api.runspec import RUNSPEC_ANNOTATION, RUNSPEC_PATH, RunSpec, read_order
from luthier_operator.finetunejob.build import build
from luthier_operator.resources import FINE_TUNE_JOBS
from luthier_operator.run.adoption import is_leaving
from luthier_operator.run.build import handed_over, job_name
from luthier_operator.run.model import Owner, Revision

REVISION = Revision("r1-12345678", 1, "12345678" * 8)


def test_names_differ_by_uid_revision_and_attempt_and_fit() -> None:
    long = Owner(FINE_TUNE_JOBS, "team", "a.long-name-" + "x" * 240, "u1")
    names = {
        job_name(long, REVISION),
        job_name(Owner(FINE_TUNE_JOBS, "team", long.name, "u2"), REVISION),
        job_name(long, Revision("r2-12345678", 1, "")),
        job_name(long, Revision("r1-12345678", 2, "")),
    }
    assert len(names) == 4
    assert all(len(name) == 63 and "." not in name for name in names)
    assert job_name(OWNER, REVISION) == job_name(OWNER, REVISION)


def test_the_run_spec_is_an_annotation_read_as_a_file() -> None:
    (job,) = build(OWNER, spec(), REVISION, platform())
    template = job["spec"]["template"]
    order = RunSpec.model_validate_json(template["metadata"]["annotations"][RUNSPEC_ANNOTATION])
    assert order.output == "s3://artifacts/models/team/tone/r1-12345678"
    assert order.storage.endpoint == "http://s3:8333"
    assert order.progress is not None
    (container,) = template["spec"]["containers"]
    assert container["command"][-1] == RUNSPEC_PATH
    assert "downwardAPI" in template["spec"]["volumes"][0]


def test_a_large_run_spec_goes_in_a_config_map_of_the_same_owner() -> None:
    modules = ["m" * 250 + str(n) for n in range(64)]
    large = spec(
        dataset={"uri": "s3://d/a.jsonl", "template": "{a}" + "é" * 65000, "evalFraction": 0.1},
        method={"lora": {"targetModules": modules}},
        model={"uri": "s3://" + "m" * 1000},
    )
    objects = build(OWNER, large, REVISION, platform(fileRoots=["/" + "r" * 60000]))
    config_map, job = objects
    assert config_map["kind"] == "ConfigMap"
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid
    assert RunSpec.model_validate_json(config_map["data"]["runspec.json"]).fine_tuning.method
    assert job["spec"]["template"]["metadata"]["annotations"] == {}
    name = config_map["metadata"]["name"]
    assert job["spec"]["template"]["spec"]["volumes"][0]["configMap"] == {"name": name}
    # Once the Job is there, the ConfigMap is its own: it goes when the Job does.
    config_map["metadata"]["uid"], job["metadata"]["uid"] = "u-map", "u-job"
    changed = handed_over(config_map, job)["metadata"]
    assert changed["uid"] == "u-map", "of that ConfigMap, no namesake"
    (reference,) = changed["ownerReferences"]
    assert (reference["kind"], reference["name"], reference["uid"]) == ("Job", name, "u-job")
    left_behind = config_map | {"metadata": config_map["metadata"] | changed}
    assert is_leaving(config_map, left_behind), "waited for, and not taken for somebody else's"
    assert not is_leaving(config_map, config_map)


def test_secrets_are_references_and_must_exist() -> None:
    named = spec(
        storage={"secretName": "mine"},
        model={"uri": "hf://a/b", "tokenSecretRef": {"name": "hub", "key": "token"}},
    )
    (job,) = build(OWNER, named, REVISION, platform())
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    references = {
        it["name"]: it["valueFrom"]["secretKeyRef"]
        for it in environment
        if "secretKeyRef" in it.get("valueFrom", {})
    }
    assert set(references) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"}
    assert references["HF_TOKEN"] == {"name": "hub", "key": "token", "optional": False}
    assert references["AWS_ACCESS_KEY_ID"]["name"] == "mine"


def test_a_run_starts_without_the_secrets_of_its_trackers() -> None:
    named = spec(
        tracking={
            "mlflow": {
                "uri": "https://mlflow.example",
                "username": "ada",
                "passwordSecretRef": {"name": "mlflow", "key": "password"},
            },
            "wandb": {"apiKeySecretRef": {"name": "wandb", "key": "key"}},
        }
    )
    (job,) = build(OWNER, named, REVISION, platform())
    template = job["spec"]["template"]
    environment = {it["name"]: it for it in template["spec"]["containers"][0]["env"]}
    assert environment["MLFLOW_TRACKING_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "mlflow",
        "key": "password",
        "optional": True,
    }
    assert environment["WANDB_API_KEY"]["valueFrom"]["secretKeyRef"]["optional"] is True
    order = read_order(template["metadata"]["annotations"][RUNSPEC_ANNOTATION].encode())
    assert isinstance(order, RunSpec)
    assert order.tracking == named.tracking


def test_a_pod_imports_nothing_from_its_folder_and_its_token_is_short_lived() -> None:
    (job,) = build(OWNER, spec(), REVISION, platform())
    pod = job["spec"]["template"]["spec"]
    assert {"name": "PYTHONSAFEPATH", "value": "1"} in pod["containers"][0]["env"]
    tokens = [
        source["serviceAccountToken"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    assert [token["expirationSeconds"] for token in tokens] == [600], "the least there is"
    assert pod["automountServiceAccountToken"] is False


def test_the_failure_policy_in_its_order() -> None:
    (job,) = build(OWNER, spec(limits={"maxRestarts": 7}), REVISION, platform())
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[1]["onExitCodes"]["values"] == [75]
    assert rules[2]["onExitCodes"]["values"] == [64, 65, 66, 69, 76, 77, 78, 79, 80]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {"trainer"}
    assert job["spec"]["backoffLimit"] == 7
    assert job["spec"]["podReplacementPolicy"] == "Failed"


def test_what_a_pool_says() -> None:
    pool = platform(
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        priorityClassName="low",
        imagePullSecrets=["registry"],
        sharedMemory="1Gi",
        cacheClaim="cache",
        mounts=[
            {"claim": "host", "mountPath": "/usr", "subPath": "usr"},
            {"claim": "host", "mountPath": "/opt", "subPath": "opt"},
        ],
        proxy={"http": "http://proxy", "noProxy": ".svc"},
        ca={"name": "ca", "key": "ca.pem"},
        env={"PLAIN": "value"},
        terminationGracePeriodSeconds=33,
    )
    (job,) = build(OWNER, spec(), REVISION, pool)
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["priorityClassName"] == "low"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["terminationGracePeriodSeconds"] == 33
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert volumes["cache"]["persistentVolumeClaim"] == {"claimName": "cache"}
    claims = [
        it
        for it in volumes.values()
        if it.get("persistentVolumeClaim", {}).get("claimName") == "host"
    ]
    assert len(claims) == 1
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/usr"]["subPath"] == "usr"
    assert mounts["/opt"]["readOnly"] is True
    assert "/etc/luthier/ca" in mounts
    plain = {it["name"]: it.get("value") for it in container["env"]}
    assert plain["HTTP_PROXY"] == plain["http_proxy"] == "http://proxy"
    assert plain["NO_PROXY"] == ".svc"
    assert plain["PLAIN"] == "value"
    assert plain["HOME"] == "/tmp"


def threads_of(**pool: Any) -> list[dict[str, Any]]:
    (job,) = build(OWNER, spec(), REVISION, platform(**pool))
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return [it for it in environment if it["name"] == "OMP_NUM_THREADS"]


def test_without_a_limit_threads_are_as_many_as_cpus_were_asked_for() -> None:
    asked = {"requests": {"cpu": "1500m"}, "limits": {"memory": "4Gi"}}
    (said,) = threads_of(resources=asked)
    assert said["valueFrom"]["resourceFieldRef"] == {
        "containerName": "trainer",
        "resource": "requests.cpu",
        "divisor": "1",
    }
    # With a limit the trainer sees its quota; without a request there is nothing to say.
    assert threads_of(resources=asked | {"limits": {"cpu": "4"}}) == []
    assert threads_of(resources={"requests": {"memory": "4Gi"}, "limits": {}}) == []
    # The platform's own word wins.
    own = threads_of(resources=asked, env={"OMP_NUM_THREADS": "7"})
    assert own == [{"name": "OMP_NUM_THREADS", "value": "7"}]


def test_a_queued_job_starts_suspended_and_others_do_not() -> None:
    (queued,) = build(OWNER, spec(placement={"queueName": "team"}), REVISION, platform())
    assert queued["spec"]["suspend"] is True
    (job,) = build(OWNER, spec(), REVISION, platform())
    assert job["spec"]["suspend"] is False


def test_gpus_are_limits() -> None:
    rich = Owner(FINE_TUNE_JOBS, "rich", "tone", "u")
    (job,) = build(rich, spec(placement={"pool": "gpu", "gpus": 1}), REVISION, platform())
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "1"


def test_what_the_spec_names_is_mounted_read_only() -> None:
    script = CODE | {"configMapRef": {"name": "code", "key": "eval.py"}}
    named = spec(
        model={"uri": "pvc://models/smollm2/v1"},
        dataset=SPEC["dataset"]
        | {
            "uri": "pvc://models/rows.csv",
            "mix": [{"uri": "configmap://more/b.csv"}, {"uri": "pvc://host/c.csv"}],
        },
        training={"maxSteps": 1, "loss": CODE},
        evaluation={"script": script},
    )
    pool = platform(mounts=[{"claim": "host", "mountPath": "/opt", "readOnly": False}])
    (job,) = build(OWNER, named, REVISION, pool)
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert len({mount["name"] for mount in mounts.values()}) == len(volumes) == len(pod["volumes"])

    def mounted(path: str) -> dict[str, Any]:
        assert mounts[path]["readOnly"] is True
        volume: dict[str, Any] = volumes[mounts[path]["name"]]
        return volume

    claim = mounted("/var/lib/luthier/claims/models")["persistentVolumeClaim"]
    assert claim == {"claimName": "models", "readOnly": True}
    # The pool's own claim is one volume with it, and stays writable where the pool wants it.
    host = mounted("/var/lib/luthier/claims/host")["persistentVolumeClaim"]
    assert host == {"claimName": "host"}
    assert mounts["/opt"]["readOnly"] is False
    assert mounted("/etc/luthier/configmaps/code")["configMap"] == {
        "name": "code",
        "items": [{"key": "loss.py", "path": "loss.py"}, {"key": "eval.py", "path": "eval.py"}],
        "optional": False,
    }
    rows = mounted("/etc/luthier/configmaps/more")["configMap"]
    assert [item["key"] for item in rows["items"]] == ["b.csv"]


def test_the_pools_cache_may_be_read_by_name() -> None:
    named = spec(model={"uri": "pvc://cache/m"})
    (job,) = build(OWNER, named, REVISION, platform(cacheClaim="cache"))
    pod = job["spec"]["template"]["spec"]
    mounts = {it["mountPath"]: it["name"] for it in pod["containers"][0]["volumeMounts"]}
    assert mounts["/var/lib/luthier/claims/cache"] == mounts["/var/cache/luthier"] == "cache"
    assert [it["name"] for it in pod["volumes"]].count("cache") == 1


def test_the_hub_is_the_platforms() -> None:
    def order(hub: str | None) -> RunSpec:
        (job,) = build(OWNER, spec(model={"uri": "hf://a/b"}), REVISION, platform(hub=hub))
        annotations = job["spec"]["template"]["metadata"]["annotations"]
        return RunSpec.model_validate_json(annotations[RUNSPEC_ANNOTATION])

    assert order("https://hub.internal").hub_endpoint == "https://hub.internal"
    assert order(None).hub_endpoint is None
