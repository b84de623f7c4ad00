"""What a search may search: every number and choice of `training` and `method`, by its path.

Fields of training stand for themselves (learningRate), those of a method's block below its name
(lora.rank), and the method's type is method.type.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from luthier_api.meta import Model, NumberOr
from luthier_api.methods import Method
from luthier_api.training import Training

_NOT_SEARCHED = {
    # They decide which rows are measured, or when: trials couldn't be compared.
    "seed",
    "evalEverySteps",
    # Which rows can be learnt from at all.
    "similarity.objective",
    "preference.objective",
    # How a run is carried out shapes no result (docs/adr/0014).
    "dataloaderWorkers",
    "gradientCheckpointing",
    "logEverySteps",
    "parallel",
    "saveEverySteps",
    # What is written beside the adapter.
    "merge",
}


@dataclass(frozen=True)
class Searchable:
    """A field. `place`: where it is in a FineTuning; `words`: its choices, where it has some."""

    path: str
    place: tuple[str, ...]
    whole: bool = False
    words: tuple[str, ...] = ()
    bounds: tuple[Ge | Gt | Le | Lt, ...] = ()

    def misses(self, value: float) -> str | None:
        """What is wrong with a number for this field."""
        if self.whole and value != int(value):
            return f"{value:g} is no whole number"
        for bound in self.bounds:
            match bound:
                case Ge(ge) if not value >= float(str(ge)):
                    return f"{value:g} is less than {ge}"
                case Gt(gt) if not value > float(str(gt)):
                    return f"{value:g} isn't above {gt}"
                case Le(le) if not value <= float(str(le)):
                    return f"{value:g} is more than {le}"
                case Lt(lt) if not value < float(str(lt)):
                    return f"{value:g} isn't below {lt}"
        return None


def _fields(model: type[Model], place: tuple[str, ...], prefix: str) -> Iterator[Searchable]:
    for name, info in model.model_fields.items():
        alias = info.alias or name
        path, here = f"{prefix}{alias}", (*place, alias)
        bare, marks = _bare(info)
        if isinstance(bare, type) and issubclass(bare, Model):
            yield from _fields(bare, here, f"{path}.")
        elif bare is bool:
            yield Searchable(path, here, words=("true", "false"))
        elif bare in (int, float):
            bounds = tuple(it for it in marks if isinstance(it, Ge | Gt | Le | Lt))
            yield Searchable(path, here, whole=bare is int, bounds=bounds)
        elif get_origin(bare) is Literal and all(isinstance(it, str) for it in get_args(bare)):
            yield Searchable(path, here, words=get_args(bare))


def _bare(info: FieldInfo) -> tuple[Any, list[Any]]:
    """A field's type without None, a word beside its number, and annotations; and these."""
    found, marks = info.annotation, list(info.metadata)
    while True:
        if get_origin(found) is Annotated:
            found, *more = get_args(found)
            marks += [part for it in more for part in (getattr(it, "metadata", None) or [it])]
        elif get_origin(found) in (Union, UnionType):
            kinds = [it for it in get_args(found) if it is not NoneType]
            numbers = [it for it in kinds if get_origin(it) is not Literal]
            found = (numbers or kinds)[0]
        else:
            number = next((it for it in marks if isinstance(it, NumberOr)), None)
            if number:
                marks += [Gt(number.above), Le(number.most)]
            return found, marks


def _all() -> Iterator[Searchable]:
    yield from _fields(Training, ("training",), "")
    for it in _fields(Method, ("method",), ""):
        yield it if "." in it.path else Searchable(f"method.{it.path}", it.place, words=it.words)


SEARCHABLE: dict[str, Searchable] = {
    it.path: it for it in _all() if it.path.removeprefix("method.") not in _NOT_SEARCHED
}
PATHS = tuple(SEARCHABLE)
WORDS = tuple(path for path, it in SEARCHABLE.items() if it.words)
INTEGERS = tuple(path for path, it in SEARCHABLE.items() if it.whole)
