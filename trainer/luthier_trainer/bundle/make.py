"""The parts of a package: taken over where they are the same as before, else built and proven."""

from collections.abc import Sequence
from pathlib import Path

from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.contents import Contents, local_file, local_model
from luthier_trainer.bundle.index import MODEL_FOLDER, BasePart, File
from luthier_trainer.bundle.members import Member
from luthier_trainer.bundle.membership import Membership
from luthier_trainer.bundle.parts import adapter_file, describe_all, taken_part
from luthier_trainer.bundle.previous import Previous
from luthier_trainer.log import log
from luthier_trainer.packages.genai.base import Base
from luthier_trainer.packages.genai.modules import PROJECTIONS
from luthier_trainer.pod.pod import Pod


class Maker:
    """Makes the parts of one package. `source`: folder of the unquantised base."""

    def __init__(
        self,
        order: BundleOrder,
        pod: Pod,
        membership: Membership,
        previous: Previous | None,
        contents: Contents,
        source: Path,
        scratch: Path,
    ) -> None:
        self._order, self._pod, self._membership = order, pod, membership
        self._previous, self._contents = previous, contents
        self._source, self._scratch = source, scratch

    def make(self, base: Base, key: str, members: Sequence[Member]) -> BasePart:
        """The base's part; the adapters that pass their proof are members.

        `key`: the base's. Raises TrainerError, Interrupted.
        """
        new = [member for member in members if member.taken is None]
        model, part = self._base(base, key, needed=bool(new))
        others = [path for member in members if (path := self._take(member, needed=bool(new)))]
        if model and new:
            # Only now: its imports take seconds.
            from luthier_trainer.bundle.assemble import Assembly

            assembly = Assembly(
                self._order, self._pod, self._membership, self._source, model, self._contents.folder
            )
            assembly.execute(new, others, self._scratch / "rows")
        return part

    def _base(self, base: Base, key: str, *, needed: bool) -> tuple[Path | None, BasePart]:
        """The folder of the graph, where it is needed here, and the part."""
        previous = self._previous
        part = previous.base(key) if previous else None
        model = None
        if previous and part and needed:
            self._pod.reporter.stage("Fetching")
            model = local_model(previous, part.files, self._scratch / "previous")
            if model is None:
                log("warning: the base of the package before isn't what was published: built anew")
                part = None
        if previous and part:
            for name, file in part.files.items():
                self._contents.take(name, previous, name, file)
            return model, part.model_copy(update={"uri": base.uri})
        self._pod.reporter.stage("Building")
        return self._build(base, key)

    def _build(self, base: Base, key: str) -> tuple[Path, BasePart]:
        # Only now: their imports take seconds.
        from luthier_trainer.models.load import load_tokenizer
        from luthier_trainer.models.vocabulary import check_vocabulary
        from luthier_trainer.objectives.tokens import begin_tokens
        from luthier_trainer.packages.genai import graph

        tokenizer = load_tokenizer(self._source)
        check_vocabulary(self._source, tokenizer)
        bundling = self._order.bundling
        model = self._contents.folder / MODEL_FOLDER
        graph.build(self._source, base.modules, bundling, model, self._scratch)
        return model, BasePart(
            key=key,
            uri=base.uri,
            digest=base.digest,
            architecture=base.architecture,
            precision=bundling.precision,
            device=bundling.target.device,
            target_modules=list(PROJECTIONS),
            begin_tokens=begin_tokens(tokenizer),
            files=describe_all(self._contents.folder, model.iterdir()),
        )

    def _take(self, member: Member, *, needed: bool) -> Path | None:
        """Take an adapter over from the package before. Returns its file, for one of those that
        new ones are proven beside: they must not mix."""
        taken = member.taken
        if taken is None:
            return None
        assert self._previous
        file = File(sha256=taken.sha256, bytes=taken.bytes)
        self._contents.take(adapter_file(member.name), self._previous, taken.file, file)
        first = not self._membership.included
        self._membership.include(taken_part(member))
        if not (needed and first):
            return None
        return local_file(self._previous, taken.file, file, self._scratch / "previous")
