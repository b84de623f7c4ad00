"""The kinds that are reconciled: a fourth one is a folder beside these, and a line here."""

from typing import Any

from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.optimizejob.kind import OPTIMIZE_JOB
from luthier_operator.run.reconcile import Kind

KINDS: tuple[Kind[Any, Any, Any], ...] = (FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE)
