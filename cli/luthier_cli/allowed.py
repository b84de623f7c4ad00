"""What a platform's luthier.yaml doesn't let a manifest ask for, as the operator finds it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from luthier_api import policy
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.kinds import FINE_TUNE_JOB
from luthier_api.platform import Platform
from luthier_api.runsettings import RunSettings
from luthier_api.sources import of_run
from luthier_cli.findings import Finding, locate
from luthier_cli.offline import check_document, kind_of
from luthier_cli.yaml import Document, at

DEFAULT_NAMESPACE = "default"  # as of kubectl, without a cluster


@dataclass(frozen=True)
class Rules:
    """A luthier.yaml, and what it is asked about."""

    platform: Platform
    namespace: str  # of manifests that name none
    jobs: Mapping[tuple[str, str], FineTuneJobSpec] = field(default_factory=dict)

    def among(self, values: Iterable[Any]) -> "Rules":
        """The rules for resources that stand together: some read what FineTuneJobs name."""
        jobs = {}
        for value in values:
            if isinstance(value, dict) and kind_of(value) is FINE_TUNE_JOB:
                try:
                    spec = FineTuneJobSpec.read(value.get("spec"))
                except ValidationError:  # told where it stands
                    continue
                jobs[self._namespace(value), str(at(value, ("metadata", "name")))] = spec
        return replace(self, jobs=jobs)

    def check(self, document: Document, file: str) -> list[Finding]:
        """All that isn't allowed of a resource that is valid otherwise."""
        kind, namespace = kind_of(document.value), self._namespace(document.value)
        if kind is None:
            return []
        try:
            spec = kind.spec_model().read(document.value.get("spec"))
        except ValidationError:  # a cluster of another version takes it
            return check_document(document, file)
        assert isinstance(spec, RunSettings)
        jobs = {name: it for (where, name), it in self.jobs.items() if where == namespace}
        denials = policy.denials(spec, of_run(spec, jobs), namespace, self.platform)
        return [
            Finding(file, document.line(locate(document, it.field)), it.field, it.what, it.remedy)
            for it in denials
        ]

    def _namespace(self, value: dict[str, Any]) -> str:
        return str(at(value, ("metadata", "namespace")) or self.namespace)
