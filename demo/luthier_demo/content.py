"""The base model and the datasets of the demo's examples, made once and put in S3."""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import boto3
from botocore.config import Config

from luthier_cluster import Cluster
from luthier_cluster.commands import run
from luthier_cluster.layout import cache_root
from luthier_cluster.locks import locked
from luthier_cluster.output import step

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
EXAMPLE = EXAMPLES / "wordnet"

MODEL = "smollm2-135m-instruct"
# dataset, and the example that makes it → what its prepare_data.py imports
DATASETS: dict[str, list[Path]] = {"wordnet": [], "wordclass": [EXAMPLES / "shared.py"]}
BUCKETS = ("models", "datasets", "artifacts")
# The dataset of which more comes in while the demo goes on, and how many rows are there before.
GROWS, FIRST_ROWS = "wordclass", 3000
_TRAIN = "train.jsonl"


def folder(name: str, script: Path, imported: Sequence[Path] = ()) -> Path:
    """What `script` makes, in the cache under its digest and that of what it imports: made if it
    isn't there.

    Raises CommandError with what the script said when it fails.
    """
    sources = b"".join(source.read_bytes() for source in (script, *imported))
    digest = hashlib.sha256(sources).hexdigest()[:12]
    made = cache_root() / "content" / f"{name}-{digest}"
    if made.exists():
        return made
    with locked(made.with_suffix(".lock"), within=1000):
        if not made.exists():
            with step(f"make {name}"):
                scratch = made.with_suffix(".part")
                shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
                run([sys.executable, script, "--output", scratch], within=900)
                scratch.rename(made)
    return made


def model() -> Path:
    """SmolLM2-135M-Instruct as safetensors."""
    return folder(MODEL, EXAMPLE / "prepare_model.py")


def dataset(name: str = "wordnet") -> Path:
    """Rows of one of DATASETS: train.jsonl and test.jsonl."""
    return folder(name, EXAMPLES / name / "prepare_data.py", DATASETS[name])


def s3_client(cluster: Cluster):  # type: ignore[no-untyped-def]  # boto3 makes its classes at run time
    """A client for the cluster's S3, with its own key."""
    return boto3.client(
        "s3",
        endpoint_url=cluster.s3_endpoint,
        aws_access_key_id=cluster.s3_access_key,
        aws_secret_access_key=cluster.s3_secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60),
    )


def upload(
    cluster: Cluster, source: Path, bucket: str, prefix: str, besides: Sequence[str] = ()
) -> None:
    """Put a folder's files, `besides` some of that name, below s3://bucket/prefix; those of the
    same size are there already."""
    client = s3_client(cluster)
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    there = {entry["Key"]: entry["Size"] for entry in listed}
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        key = f"{prefix}/{file.relative_to(source)}"
        if file.name not in besides and there.get(key) != file.stat().st_size:
            client.upload_file(str(file), bucket, key)


def put_in_s3(cluster: Cluster) -> None:
    """The buckets, s3://models/<MODEL> and s3://datasets/<each of DATASETS>."""
    put_data_in_s3(cluster)
    with step("base model in S3"):
        upload(cluster, model(), "models", MODEL)


def put_data_in_s3(cluster: Cluster) -> None:
    """The buckets, and s3://datasets/<each of DATASETS>: of GROWS, the first rows."""
    rows = {name: dataset(name) for name in DATASETS}
    with step("datasets in S3"):
        client = s3_client(cluster)
        present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in BUCKETS:
            if bucket not in present:
                client.create_bucket(Bucket=bucket)
        for name, files in rows.items():
            upload(cluster, files, "datasets", name, besides=(_TRAIN,) if name == GROWS else ())
        found = client.list_objects_v2(Bucket="datasets", Prefix=f"{GROWS}/{_TRAIN}")
        if not found.get("Contents"):
            first = rows[GROWS].joinpath(_TRAIN).read_bytes().splitlines(keepends=True)[:FIRST_ROWS]
            client.put_object(Bucket="datasets", Key=f"{GROWS}/{_TRAIN}", Body=b"".join(first))


def put_new_rows_in_s3(cluster: Cluster) -> None:
    """The rest of GROWS; nothing where it is there."""
    with step("new rows in S3"):
        upload(cluster, dataset(GROWS), "datasets", GROWS)
