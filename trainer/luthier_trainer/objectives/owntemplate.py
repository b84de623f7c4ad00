"""The chat template that dataset.chatTemplate gives, in place of the model's own."""

from typing import Any

from luthier_api.runspec import RunSpec
from luthier_trainer.data.examples import Turn
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.objectives.chattemplate import ChatTemplate, RefusedError
from luthier_trainer.pod.usercode import mounted

_PARAM = "dataset.chatTemplate"
_LARGEST = 1 << 20


def use_own_template(tokenizer: Any, spec: RunSpec) -> None:
    """Give it to the tokenizer, with which it is saved, if there is one. Raises TrainerError
    (ChatTemplateMissing, ChatTemplateBroken)."""
    wanted = spec.fine_tuning.dataset.chat_template
    if wanted is None:
        return
    text = wanted.text
    if wanted.config_map_ref:
        path = mounted(wanted.config_map_ref, spec, _PARAM, "ChatTemplateMissing")
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise _broken("it is not UTF-8") from error
    if not text or not text.strip():
        raise _broken("it is empty")
    if len(text) > _LARGEST:
        raise _broken(f"it has more than {_LARGEST:,} characters")
    tokenizer.chat_template = text
    try:
        ChatTemplate(tokenizer).write([Turn("user", "?")], ask=True)
    except RefusedError as error:
        # One that only writes other conversations is no broken one.
        if "is no Jinja" in str(error):
            raise _broken(str(error)) from error


def _broken(problem: str) -> TrainerError:
    return unsupported("ChatTemplateBroken", f"{problem}; correct the template", _PARAM)
