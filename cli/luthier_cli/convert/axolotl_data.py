"""The datasets of Axolotl: where they are, and what its types of rows are here."""

import re
from collections.abc import Mapping
from typing import Any

from luthier_cli.convert import places
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Field, Group, Said, UnsaidError, lost, moot, several, walk
from luthier_cli.convert.preference import ONE, TWO
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import number, table

DATA = (
    "datasets test_datasets pretraining_dataset val_set_size chat_template chat_template_jinja "
    "streaming pretraining_sample_concatenation"
)
_ALPACA = {"instruction": "instruction", "input": "input", "output": "output"}
# Types of rows, by name, and the columns that they are read from.
_COLUMNS: dict[str, dict[str, str]] = {
    "alpaca": _ALPACA,
    "alpaca_chat": _ALPACA,
    "alpaca_w_system": _ALPACA,
    "alpaca_w_system.load_open_orca": {"instruction": "question", "output": "response"},
    "alpaca_chat.load_qa": {"instruction": "question", "output": "answer"},
    "gpteacher": _ALPACA | {"output": "response"},
    "jeopardy": {"instruction": "question", "input": "category", "output": "answer"},
    "oasst": {"instruction": "INSTRUCTION", "output": "RESPONSE"},
    "summarizetldr": {"instruction": "article", "output": "summary"},
    "metharme": {"prompt": "prompt", "completion": "generation"},
}
_PROMPTS = (
    "Axolotl writes a prompt of its own around these columns, here the model's chat template does; "
    "a base model without one needs dataset.chatTemplate, or a dataset.template"
)
OBJECTIVES = ("dpo", "ipo", "orpo", "kto", "simpo")
# Types of rows with two answers, by name.
_ANSWERS: dict[str, dict[str, str]] = {
    "intel": {"prompt": "question", "chosen": "chosen", "rejected": "rejected"},
    "argilla": {
        "prompt": "instruction",
        "chosen": "chosen_response",
        "rejected": "rejected_response",
    },
    "argilla_chat": {"chosen": "chosen", "rejected": "rejected"},
    "icr": {"prompt": "input", "chosen": "chosen", "rejected": "rejected"},
    "prompt_pairs": TWO,
    "ultra": {"chosen": "chosen", "rejected": "rejected"},
    "nectar": TWO,
}
_MESSAGES = {"chat_template": "messages", "sharegpt": "conversations"}
_READ = {"role": ("role", "from"), "content": ("content", "value")}

# Of a dataset, beside what `_place` and `form` read.
_DATASET: dict[str, Field] = {
    **several(
        "ds_type trust_remote_code preprocess_shards", moot("a file's name tells its format")
    ),
    **several("shards shards_idx skip", lost("dataset.train takes a slice: train[:10%]")),
    **several(
        "roles_to_train train_on_eos train_on_eot message_field_training "
        "message_field_training_detail",
        lost(
            "the loss counts the assistant's turns; a message's `weight: 0` leaves one out",
            ["assistant"],
            ["assistant", "gpt"],
            ["gpt", "assistant"],
            "turn",
        ),
    ),
    **several(
        "roles message_property_mappings message_field_role message_field_content",
        lost("a row's messages are {role, content} or {from, value}"),
    ),
    **several(
        "field_tools field_thinking template_thinking_key split_thinking",
        lost(
            "tools and reasoning are read by their usual names: tools, reasoning_content",
            "tools",
            "reasoning_content",
        ),
    ),
    "drop_system_message": lost("system messages are kept"),
    **several(
        "conversation chat_template chat_template_jinja",
        lost("one chat template is for all rows: dataset.chatTemplate", "tokenizer_default"),
    ),
    **several(
        "input_transform input_format logprobs_field temperature step_separator "
        "max_completion_length train_on_last_step_only field_human field_model",
        lost("rows are read as they are"),
    ),
}
_OF_PLACE = ("path", "name", "data_files", "split", "revision")
_OF_FORM = ("type", "field", "field_messages", "text_column", "field_chosen", "field_rejected")


def data(it: Group) -> None:
    """All that says where rows come from, and how they read."""
    sources = it.get("datasets") or it.get("pretraining_dataset")
    name = "datasets" if it.get("datasets") else "pretraining_dataset"
    entries = [sources] if isinstance(sources, str | dict) else sources
    if isinstance(entries, list) and entries:
        _all(it, name, entries)
    _template(it)
    _held_out(it)
    it.rest("rows are read as they are needed")


def _all(it: Group, name: str, entries: list[Any]) -> None:
    first: dict[str, Any] = {}
    objective = str(it.get("rl") or "").lower()
    for number_, entry in enumerate(entries):
        where = f"{name}[{number_}]."
        given = {"path": entry, "type": "pretrain"} if isinstance(entry, str) else table(entry)
        found = _form(given, pretraining=name == "pretraining_dataset", objective=objective)
        if not number_:
            first = found
            for target, value in found.items():
                it.draft.put(
                    target,
                    value.value,
                    where + "type",
                    given.get("type"),
                    fate=value.fate,
                    why=value.why,
                )
            _place(it.draft, given, where)
        elif {k: v.value for k, v in found.items()} == {k: v.value for k, v in first.items()}:
            _mix(it.draft, given, where)
        else:
            it.draft.lost(
                f"{where}path",
                given.get("path"),
                "its rows read otherwise than the first source's: bring them into one form",
            )
        walk(
            _DATASET,
            {
                k: v
                for k, v in given.items()
                if k not in (*_OF_PLACE, *_OF_FORM) and not _as_usual(k, v)
            },
            it.draft,
            where,
        )
    it.moot(name, "each is told below")
    if not objective:
        it.draft.put("task", "generation", fate=Fate.DEFAULT)


def _as_usual(name: str, value: Any) -> bool:
    """Whether messages have the names that are read anyway."""
    if name == "message_property_mappings":
        pairs = table(value)
        return all(pairs.get(key) in (None, *names) for key, names in _READ.items()) and set(
            pairs
        ) <= set(_READ)
    usual = {"message_field_role": _READ["role"], "message_field_content": _READ["content"]}
    if name == "roles":
        plain = {
            "user": {"user", "human"},
            "assistant": {"assistant", "gpt"},
            "system": {"system"},
            "tool": {"tool"},
        }
        return all(
            isinstance(names, list)
            and all(isinstance(n, str) for n in names)
            and set(names) <= plain.get(role, set())
            for role, names in table(value).items()
        )
    return value in usual.get(name, ())


def _preferred(given: Mapping[str, Any], objective: str) -> dict[str, Said]:
    """The columns of rows with answers that are better and worse."""
    kind = given.get("type")
    if isinstance(kind, dict):
        usual = ONE if objective == "kto" else TWO
        found = {ours: str(kind.get(f"field_{ours}") or name) for ours, name in usual.items()}
        written = [name for name in kind if name.endswith("_format")]
        why = f"{', '.join(written)} has no counterpart: answers are as they are" if written else ""
        return {"dataset.columns": Said(found, why, Fate.DIFFERS if why else Fate.SAME)}
    base, _, variant = str(kind or "").partition(".")
    if objective == "kto":
        return {"dataset.columns": Said(dict(ONE), "rows of one answer each", Fate.FILL)}
    if base == "chat_template":
        found = {"prompt": str(given.get("field_messages") or "messages")}
        found |= {name: str(given.get(f"field_{name}") or name) for name in ("chosen", "rejected")}
        why = "an answer is a text or a list of messages here, not one message"
        return {"dataset.columns": Said(found, why)}
    columns = _ANSWERS.get(variant)
    why = "" if columns else "rows of this type aren't known here: say what their columns mean"
    return {"dataset.columns": Said(dict(columns or TWO), why, Fate.SAME if columns else Fate.FILL)}


def _form(given: Mapping[str, Any], *, pretraining: bool, objective: str) -> dict[str, Said]:
    """The columns or the template of a source's rows."""
    if objective:
        return _preferred(given, objective)
    kind = given.get("type")
    if isinstance(kind, dict):
        return _own(kind)
    kind = str(kind or ("pretrain" if pretraining else "")).split(":")[0]
    base = kind.partition(".")[0]
    if base in _MESSAGES:
        column = given.get("field_messages") or _MESSAGES[base]
        return {"dataset.columns": Said({"messages": str(column)}, "", Fate.SAME)}
    if kind in ("completion", "pretrain", "text"):
        column = str(given.get("field") or given.get("text_column") or "text")
        return {"dataset.template": Said(f"{{{column}}}", "", Fate.SAME)}
    columns = _COLUMNS.get(kind) or _COLUMNS.get(base)
    if columns:
        return {"dataset.columns": Said(dict(columns), _PROMPTS)}
    why = "rows of this type aren't known here: say what their columns mean"
    return {"dataset.columns": Said({"messages": "messages"}, why, Fate.FILL)}


def _own(kind: Mapping[str, Any]) -> dict[str, Said]:
    """A prompt of the user's own becomes a template."""
    columns = {
        part: str(kind.get(f"field_{part}") or part)
        for part in ("system", "instruction", "input", "output")
    }
    written = kind.get("format")
    if not isinstance(written, str):
        found = {part: columns[part] for part in ("instruction", "input", "output")}
        return {"dataset.columns": Said(found, _PROMPTS)}

    def column(match: "re.Match[str]") -> str:
        return f"{{{columns[match[1]]}}}" if match[1] in columns else "{{" + match[1] + "}}"

    text = re.sub(r"\{(\w+)\}", column, re.sub(r"[{}]{2,}", "", written))
    before = kind.get("system_prompt")
    text = (before if isinstance(before, str) else "") + text + f"{{{columns['output']}}}"
    why = (
        "one template is for all rows: no_input_format, for rows without input, has no counterpart"
    )
    fate = Fate.DIFFERS if kind.get("no_input_format") else Fate.SAME
    return {
        "dataset.template": Said(text, why if fate is Fate.DIFFERS else "", fate),
        "dataset.lossOn": Said("Completion", "", Fate.SAME),
    }


def _place(draft: Draft, given: Mapping[str, Any], where: str) -> None:
    files = given.get("data_files")
    _put_uri(draft, "dataset.uri", given, where)
    if isinstance(given.get("revision"), str):
        draft.put("dataset.revision", given["revision"], f"{where}revision", given["revision"])
    split = given.get("split")
    if isinstance(split, str):
        draft.put("dataset.train", split, f"{where}split", split)
    if isinstance(files, list) and len(files) > 1:
        draft.lost(
            f"{where}data_files", files, "one file, or a star: further ones go into dataset.mix"
        )
    elif files is not None:
        draft.tell(f"{where}data_files", files, Fate.SAME, "spec.dataset.uri")
    if given.get("name") is not None:
        draft.tell(
            f"{where}name",
            given["name"],
            Fate.DIFFERS,
            "spec.dataset.uri",
            "a subset is a folder of the dataset here",
        )


def _put_uri(draft: Draft, target: str, given: Mapping[str, Any], where: str) -> Any:
    path = given.get("path")
    try:
        uri = places.dataset(path, given.get("data_files"), given.get("name"))
    except UnsaidError as reason:
        draft.lost(f"{where}path", path, str(reason))
        return None
    said = uri if isinstance(uri, Said) else Said(uri, "", Fate.SAME)
    draft.put(target, said.value, f"{where}path", path, fate=said.fate, why=said.why)
    return said.value


def _mix(draft: Draft, given: Mapping[str, Any], where: str) -> None:
    path = given.get("path")
    try:
        uri = places.dataset(path, given.get("data_files"), given.get("name"))
    except UnsaidError as reason:
        draft.lost(f"{where}path", path, str(reason))
        return
    item = {"uri": uri.value if isinstance(uri, Said) else uri}
    if isinstance(given.get("revision"), str):
        item["revision"] = given["revision"]
    fate = uri.fate if isinstance(uri, Said) else Fate.SAME
    draft.put(
        "dataset.mix",
        [*(draft.get("dataset.mix") or []), item],
        f"{where}path",
        path,
        fate=fate,
        why=uri.why if isinstance(uri, Said) else "",
    )
    for name in ("data_files", "name", "revision"):
        if given.get(name) is not None:
            draft.tell(f"{where}{name}", given[name], Fate.SAME, "spec.dataset.mix")
    if given.get("split") not in (None, "train"):
        draft.lost(f"{where}split", given["split"], "of a further source the split train is taken")


def _template(it: Group) -> None:
    written = it.get("chat_template_jinja")
    if isinstance(written, str) and written.strip():
        it.put("dataset.chatTemplate.text", written, "chat_template_jinja")
        it.same("chat_template", "dataset.chatTemplate.text")
    elif it.get("chat_template") in (None, "tokenizer_default", "jinja"):
        it.moot("chat_template", "the model's own chat template is used")
    else:
        it.lost(
            "chat_template",
            "the model's own chat template is used; another's text goes into dataset.chatTemplate",
        )


def _held_out(it: Group) -> None:
    share = it.get("val_set_size")
    tests = it.get("test_datasets")
    if tests:
        it.lost(
            "test_datasets",
            "rows to measure on come from the same dataset: put them into its "
            "folder as test.jsonl, or set dataset.eval",
        )
    try:
        found = number(share) if share is not None else 0
    except UnsaidError as reason:
        it.lost("val_set_size", str(reason))
        return
    if 0 < found < 1:
        it.put("dataset.evalFraction", found, "val_set_size")
    elif found >= 1:
        split = str(it.draft.get("dataset.train") or "train")
        if "[" in split:
            it.lost("val_set_size", "set dataset.eval to a slice")
            return
        rows = round(found)
        why = "the last rows, in their order: evalFraction draws them"
        it.put("dataset.train", f"{split}[:-{rows}]", "val_set_size", why, fate=Fate.DIFFERS)
        it.put("dataset.eval", f"{split}[-{rows}:]", "val_set_size", why, fate=Fate.DIFFERS)
    else:
        it.moot("val_set_size", "it is off")
