"""Fields that are right by themselves, and wrong together: nothing is dropped in silence."""

from contract.wrong import Wrong
from contract.wrong_classes import CLASSES_OF_A_HEAD
from contract.wrong_forms import FORMS, SIMILARITY
from contract.wrong_methods import METHODS
from contract.wrong_metrics import METRICS
from contract.wrong_optimisation import OPTIMISATION
from contract.wrong_preferences import PREFERENCES
from contract.wrong_sources import SOURCES

WRONG_COMBINATIONS: list[Wrong] = [
    *SOURCES,
    *FORMS,
    *METHODS,
    *OPTIMISATION,
    *SIMILARITY,
    *CLASSES_OF_A_HEAD,
    *METRICS,
    *PREFERENCES,
]
