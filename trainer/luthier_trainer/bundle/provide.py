"""The base of a package and its adapters, taken over where they are the same as before; the base
built where it isn't."""

from collections.abc import Sequence
from pathlib import Path

from luthier_trainer.bundle.contents import local_file, local_model
from luthier_trainer.bundle.index import MODEL_FOLDER, BasePart, File
from luthier_trainer.bundle.job import Job
from luthier_trainer.bundle.members import Member
from luthier_trainer.bundle.parts import adapter_file, describe_all, taken_part
from luthier_trainer.log import log
from luthier_trainer.packages.genai.modules import PROJECTIONS


def provide_base(job: Job, *, needed: bool) -> tuple[Path | None, BasePart]:
    """The folder of the graph, where it is `needed` here, and the part. Raises TrainerError,
    Interrupted."""
    previous = job.previous
    part = previous.base(job.key) if previous else None
    model = None
    if previous and part and needed:
        job.reporter.stage("Fetching")
        model = local_model(previous, part.files, job.scratch / "previous")
        if model is None:
            log("warning: the base of the package before isn't what was published: built anew")
            part = None
    if previous and part:
        for name, file in part.files.items():
            job.contents.take(name, previous, name, file)
        return model, part.model_copy(update={"uri": job.base.uri})
    job.reporter.stage("Building")
    return _build(job)


def _build(job: Job) -> tuple[Path, BasePart]:
    # Only now: their imports take seconds.
    from luthier_trainer.models.load import load_tokenizer
    from luthier_trainer.models.vocabulary import check_vocabulary
    from luthier_trainer.objectives.tokens import begin_tokens
    from luthier_trainer.packages.genai import graph

    tokenizer = load_tokenizer(job.source)
    check_vocabulary(job.source, tokenizer)
    bundling, base = job.bundling, job.base
    model = job.contents.folder / MODEL_FOLDER
    graph.build(job.source, base.modules, bundling, model, job.scratch)
    return model, BasePart(
        key=job.key,
        uri=base.uri,
        digest=base.digest,
        architecture=base.architecture,
        precision=bundling.precision,
        device=bundling.target.device,
        target_modules=list(PROJECTIONS),
        begin_tokens=begin_tokens(tokenizer),
        files=describe_all(job.contents.folder, model.iterdir()),
    )


def take_over(job: Job, members: Sequence[Member], *, needed: bool) -> list[Path]:
    """Take adapters over from the package before. Returns, where it is `needed`, the file of one
    of them, which new ones are proven beside: they must not mix."""
    files: list[Path | None] = []
    for member in members:
        taken, previous = member.taken, job.previous
        assert taken
        assert previous
        file = File(sha256=taken.sha256, bytes=taken.bytes)
        job.contents.take(adapter_file(member.name), previous, taken.file, file)
        job.membership.include(taken_part(member))
        if needed and not files:
            files.append(local_file(previous, taken.file, file, job.scratch / "previous"))
    return [path for path in files if path]
