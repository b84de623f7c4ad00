"""The datasets of LLaMA-Factory, as its dataset_info.json describes them, and their rows."""

from typing import Any

from luthier_cli.convert import places
from luthier_cli.convert.mapping import Group, Said, UnsaidError
from luthier_cli.convert.source import RefusedError
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import number, table, words

# dataset_info.json, where it was found: a field that no configuration has.
INFO = "__dataset_info__"
_LOSSES = {"sigmoid": "dpo", "ipo": "ipo", "orpo": "orpo", "simpo": "simpo"}


def objective(given: Group | dict[str, Any]) -> str:
    """What stage: dpo or kto learns by; empty: another stage. Raises RefusedError."""
    name = str(given.get("stage") or "sft").lower()
    loss = str(given.get("pref_loss") or "sigmoid").lower()
    if name == "dpo" and loss not in _LOSSES:
        raise RefusedError(
            f"pref_loss: {loss} can't be said here", f"use one of {', '.join(_LOSSES)}"
        )
    return {"dpo": _LOSSES.get(loss, ""), "kto": "kto"}.get(name, "")


def data(it: Group) -> None:
    """The datasets by their names, in dataset_info.json."""
    info = table(it.get(INFO))
    names = _names(it.get("dataset"))
    for index, name in enumerate(names):
        _dataset(it, index, name, info)
    it.quiet(INFO)
    it.moot("dataset_dir", "URIs name the files")
    evaluated = it.get("eval_dataset")
    if evaluated is not None:
        it.lost(
            "eval_dataset",
            "rows to measure on come from the same dataset: put them into its "
            "folder as test.jsonl, or set dataset.eval",
        )
    it.read("dataset.evalFraction", "val_size", _share)
    if str(it.get("stage")).lower() == "pt":
        column = _columns_of(info, names).get("prompt") or "text"
        it.draft.drop(("dataset", "columns"), "a text is learnt as a whole", Fate.MOOT)
        it.put("dataset.template", f"{{{column}}}", why="stage: pt learns texts", fate=Fate.DIFFERS)
        it.put(
            "dataset.longRows",
            "Chunk",
            why="stage: pt learns texts to their end",
            fate=Fate.DIFFERS,
        )
    it.rest("rows are read as they are needed")


def _names(value: Any) -> list[str]:
    try:
        return words(value) if value is not None else []
    except UnsaidError:
        return []


def _columns_of(info: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return table(table(info.get(names[0])).get("columns")) if names else {}


def _share(value: Any) -> Any:
    found = number(value)
    if found >= 1:
        raise UnsaidError("a share of the rows is set aside here: dataset.evalFraction")
    return found or None


def _dataset(it: Group, index: int, name: str, info: dict[str, Any]) -> None:
    entry = table(info.get(name))
    target = "dataset.mix" if index else "dataset.uri"
    hub = entry.get("hf_hub_url")
    if not entry:
        said = Said(
            f"s3://datasets/{places.plain(name)}.json",
            f"{name} is a name in dataset_info.json, which isn't at hand",
            Fate.FILL,
        )
    else:
        found = places.dataset(
            hub or f"./{entry.get('file_name') or name}",
            folder=entry.get("subset") or entry.get("folder"),
        )
        said = found if isinstance(found, Said) else Said(found, "", Fate.SAME)
    value: Any = said.value
    if index:
        value = [*(it.draft.get("dataset.mix") or []), {"uri": said.value}]
    it.draft.put(target, value, f"dataset: {name}", None, fate=said.fate, why=said.why)
    if not index:
        columns, why = _form(entry, objective(it))
        it.draft.put(
            "dataset.columns",
            columns,
            f"dataset: {name}",
            None,
            fate=Fate.DIFFERS if why else Fate.SAME,
            why=why,
        )
        it.same("dataset", "dataset.uri")
    if entry.get("ranking") and not objective(it):
        raise RefusedError(f"{name} has rows of preferences, which this stage doesn't learn from")
    for field in ("split", "num_samples"):
        if entry.get(field) not in (None, "train"):
            it.draft.lost(f"dataset: {name}: {field}", entry[field], "dataset.train takes a slice")


def _form(entry: dict[str, Any], preferred: str) -> tuple[dict[str, str], str]:
    """Columns by what they mean: Alpaca's unless told."""
    columns = table(entry.get("columns"))
    chats = str(entry.get("formatting") or "alpaca") in ("sharegpt", "openai")
    if preferred:
        asked = "messages" if chats else "prompt"
        usual = "conversations" if chats else "instruction"
        found = {"prompt": str(columns.get(asked) or usual)}
        if preferred == "kto":
            found |= {
                "completion": str(columns.get("response") or "output"),
                "label": str(columns.get("kto_tag") or "kto_tag"),
            }
        else:
            found |= {name: str(columns.get(name) or name) for name in ("chosen", "rejected")}
        return found, "an answer is a text or a list of messages here; Alpaca's input isn't read"
    if str(entry.get("formatting") or "alpaca") in ("sharegpt", "openai"):
        tags = table(entry.get("tags"))
        known = tags.get("role_tag", "from") in ("from", "role")
        why = "" if known else "messages are read as {role, content} or {from, value}"
        return {"messages": str(columns.get("messages") or "conversations")}, why
    names = {"instruction": "prompt", "input": "query", "output": "response"}
    found = {ours: str(columns.get(theirs) or ours) for ours, theirs in names.items()}
    return found, "" if entry else "Alpaca's columns, as of a dataset that says nothing else"
