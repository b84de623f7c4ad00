"""The demo: two fine-tuning runs on a cluster, one of them again on newer data, what becomes of
them, and what it is worth."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from luthier_cluster import Cluster
from luthier_cluster.output import say, step
from luthier_demo import answers, artifacts, content, install, report, runs, tenant
from luthier_demo.closing import Closing, closing
from luthier_demo.prepare import prepare

NAME = "demo"
NAMESPACE = "team-a"
OUT = content.REPOSITORY / "out" / "demo"
# What is tuned: the name of the example, of its dataset, its run, and its adapter in the bundle.
TUNED = {name: content.EXAMPLES / name / "finetunejob.yaml" for name in ("wordnet", "wordclass")}
OPTIMIZE = content.EXAMPLES / "optimize" / "int8.yaml"
BUNDLE = content.EXAMPLES / "bundle" / "glosses.yaml"

Json = dict[str, Any]


def play(trainer_image: bool) -> None:
    """Everything, from nothing to the tables; what was done before is found done.

    Raises ClusterError and subprocess.SubprocessError.
    """
    began = time.monotonic()
    cluster = bring_up(trainer_image)
    s3, console = content.s3_client(cluster), Console()

    # In turn: two runs at once on a few cores take much longer than one after the other.
    say("\n1 of 5: what kind of thing does a definition define? An adapter learns to tell.")
    tuned = runs.run(cluster, TUNED["wordnet"])
    console.print(report.report(s3, tuned, OUT / "wordnet", []), crop=False)

    say("\n2 of 5: is it a noun, a verb, …? Another adapter on the same base learns to tell.")
    other = runs.run(cluster, TUNED["wordclass"])
    console.print(report.brief(other))

    say(
        "\n3 of 5: more rows of the second task have come in. Trained on with them, is it better? "
        "Only if that is sure is it used."
    )
    content.put_new_rows_in_s3(cluster)
    other = runs.retrain(cluster, other)
    console.print(report.retrained(other))
    artifacts.download_report(s3, other["status"]["inUse"]["uri"], OUT / "wordclass")

    say("\n4 of 5: the first one as ONNX in 8 bits, if it keeps its gates.")
    optimized = runs.run(cluster, OPTIMIZE)
    console.print(report.brief(optimized))
    artifacts.download_report(s3, optimized["status"]["artifact"]["uri"], OUT / "wordnet-int8")

    say("\n5 of 5: both adapters on one base in 8 bits, swapped at run time.")
    bundle = runs.run(cluster, BUNDLE)
    console.print(report.brief(bundle))
    with step("bundle downloaded, every file as its digest says"):
        artifacts.download_all(s3, bundle["status"]["current"], OUT / "glosses")

    console.print(end(cluster, tuned, optimized), crop=False)
    say(f"\nmake demo: {time.monotonic() - began:.0f} s")


def bring_up(trainer_image: bool) -> Cluster:
    """The demo's cluster, with model, data, chart and tenant."""
    prepare()
    cluster = Cluster(NAME)
    cluster.up()
    content.put_in_s3(cluster)
    operator_tag = install.operator_image(cluster)
    pool = install.mounted_pool()
    if trainer_image:
        trainer_tag, archive = install.build_image("trainer")
        with step("trainer image on the node"):
            cluster.import_image(archive)
        pool = install.image_pool(trainer_tag)
    install.install(cluster, install.values(cluster, operator_tag, [pool]))
    tenant.create(cluster, NAMESPACE)
    return cluster


def end(cluster: Cluster, tuned: Json, optimized: Json) -> RenderableType:
    """Ask the downloaded bundle, and put all together."""
    tasks = {
        name: answers.questions(manifest, content.dataset(name)) for name, manifest in TUNED.items()
    }
    with step(f"{answers.ROWS} rows of each task asked of the bundle"):
        scores = answers.scores(OUT / "glosses", tasks, OUT / "answers.json")
    page = Path("report") / "index.html"
    files = {
        "Fine-tuned": [OUT / name / page for name in TUNED],
        "Optimised": [OUT / "wordnet-int8" / page],
        "Bundle": [OUT / "glosses"],
    }
    bundle = shown(OUT / "glosses")
    return closing(
        Closing(
            optimized=optimized,
            tuned=tuned,
            tasks=tasks,
            scores=scores,
            files=[(what, "\n".join(map(shown, paths))) for what, paths in files.items()],
            next_commands=[
                runs.environment(cluster),
                f"kubectl get ftj,opj,ab -n {NAMESPACE}",
                f"kubectl describe opj wordnet-int8 -n {NAMESPACE}",
                f"kubectl get ab glosses -n {NAMESPACE} -o yaml",
                "kubectl explain opj.spec.gates",
                f"kubectl luthier history wordclass -n {NAMESPACE}",
                f"kubectl luthier logs wordclass -n {NAMESPACE}",
                f'python examples/bundle/ask.py {bundle} "a large wild cat"',
                "make demo-down",
            ],
        )
    )


def shown(path: Path) -> str:
    """From the repository's root, where make runs."""
    return str(path.relative_to(content.REPOSITORY))
