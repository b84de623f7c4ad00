"""Wrong values are refused before anything is installed, with a message that names them."""

import json
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
Json = dict[str, Any]

# (values, what Helm's message has to say)
WRONG: list[tuple[Json, list[str]]] = [
    ({"image": {"repository": ""}}, ["image.repository", "make images"]),
    ({"trainerImage": {"repository": ""}}, ["trainerImage.repository", "make images"]),
    ({"image": {"repositry": "x"}}, ["/image", "'repositry' not allowed"]),
    ({"image": {"repository": "o", "tag": 3}}, ["/image/tag", "got number, want string"]),
    ({"image": {"repository": "o", "digest": "sha256:1"}}, ["/image/digest"]),
    ({"replica": 2}, ["'replica' not allowed"]),
    ({"replicas": 0}, ["/replicas", "minimum: got 0, want 1"]),
    ({"leaderElection": {"retrySeconds": "2s"}}, ["/leaderElection/retrySeconds", "want integer"]),
    (
        {"leaderElection": {"leaseSeconds": 10}},
        ["leaderElection.leaseSeconds: 10 must be more than renewSeconds, 10"],
    ),
    (
        {"leaderElection": {"renewSeconds": 6, "retrySeconds": 5}},
        ["leaderElection.renewSeconds: 6 must be more than 1.2 × retrySeconds, 5"],
    ),
    ({"rbac": {"namespaces": "team-a"}}, ["/rbac/namespaces", "want array"]),
    ({"rbac": {"namespaces": ["Team A"]}}, ["/rbac/namespaces/0", "Team A"]),
    ({"rbac": {"namespaces": ["a", "a"]}}, ["/rbac/namespaces"]),
    ({"luthier": {"pools": []}}, ["/luthier/pools", "minItems"]),
    ({"luthier": {"pools": [{"image": "x"}]}}, ["/luthier/pools/0", "missing property 'name'"]),
    ({"luthier": {"pools": [{"name": "cpu", "nodes": 1}]}}, ["'nodes' not allowed"]),
    (
        {"luthier": {"pools": [{"name": "cpu", "terminationGracePeriodSeconds": 1}]}},
        ["/luthier/pools/0/terminationGracePeriodSeconds"],
    ),
    (
        {"luthier": {"pools": [{"name": "cpu", "tolerations": [{"operator": "Exist"}]}]}},
        ["/luthier/pools/0/tolerations/0/operator", "'Exists'"],
    ),
    ({"luthier": {"pools": [{"name": "a"}, {"name": "a"}]}}, ["luthier.pools", "twice"]),
    ({"luthier": {"defaultPool": "gpu"}}, ["luthier.defaultPool", '"gpu"', "there are: cpu"]),
    (
        {"luthier": {"namespaces": {"team-a": {"pool": "tpu"}}}},
        ["luthier.namespaces.team-a.pool", '"tpu"', "there are: cpu"],
    ),
    (
        {"luthier": {"namespaces": {"*": {"allowed": {"sources": ["pvc://claim"]}}}}},
        ["/luthier/namespaces/*/allowed/sources/0"],
    ),
    (
        {"luthier": {"namespaces": {"team-a": {"maxRun": 1}}}},
        ["/luthier/namespaces/team-a", "'maxRun' not allowed"],
    ),
    ({"luthier": {"storage": {"pathstyle": True}}}, ["/luthier/storage", "'pathstyle'"]),
    ({"luthier": {"storage": {"pathStyle": "yes"}}}, ["/luthier/storage/pathStyle", "boolean"]),
    ({"luthier": {"hub": {"url": "https://hub"}}}, ["/luthier/hub", "'url' not allowed"]),
    ({"luthier": {"consent": {"customCode": "*"}}}, ["/luthier/consent/customCode", "want array"]),
    ({"luthier": {"consent": {"customCode": ["Team A"]}}}, ["/luthier/consent/customCode/0"]),
    ({"networkPolicy": {"apiServer": {"ports": [0]}}}, ["/networkPolicy/apiServer/ports/0"]),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=[" ".join(said) for _, said in WRONG])
def test_wrong_values_are_refused_by_name(
    render: Callable[..., list[Json]], values: Json, said: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"^Error: ") as refused:
        render(**values)
    for word in said:
        assert word in str(refused.value)


def test_the_schema_file_is_what_its_script_writes() -> None:
    generated = run_path(str(ROOT / "scripts/values_schema.py"))["schema"]()
    written = json.loads((ROOT / "charts/luthier/values.schema.json").read_text())
    assert written == generated, "run: python scripts/values_schema.py"
