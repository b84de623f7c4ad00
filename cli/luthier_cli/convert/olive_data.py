"""Olive's data_configs and evaluators."""

from collections.abc import Mapping
from typing import Any

from luthier_cli.convert import places
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import (
    Field,
    Group,
    UnsaidError,
    group,
    lost,
    moot,
    several,
    to,
    walk,
)
from luthier_cli.convert.olive_passes import Pass
from luthier_cli.convert.told import Fate
from luthier_cli.convert.values import number, of_texts, table, text, whole, words

_METRICS = {
    "accuracy": "accuracy",
    "accuracy_score": "accuracy",
    "f1": "f1",
    "f1_score": "f1",
    "precision": "precision",
    "recall": "recall",
    "perplexity": "perplexity",
}
_BY_CLASS = ("accuracy", "f1", "precision", "recall")


def configs(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """data_configs by name: a list in newer schemas, a mapping in older ones."""
    found = given.get("data_configs")
    named = dict(table(found))
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, dict):
            named[str(entry.get("name"))] = entry
    return {name: table(entry) for name, entry in named.items()}


def _parts(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """load, prepare and loader of a data config, flat, whatever its schema."""
    old = table(entry.get("params_config"))
    inner, built = (
        table(old.pop("component_kwargs", None) if old else None),
        table(entry.get("components")),
    )
    found: dict[str, dict[str, Any]] = {}
    for part, older in (
        ("load_dataset_config", "load_dataset"),
        ("pre_process_data_config", "pre_process_data"),
        ("post_process_data_config", "post_process_data"),
        ("dataloader_config", "dataloader"),
    ):
        flat: dict[str, Any] = {}
        for layer in (built.get(older), inner.get(older), entry.get(part)):
            given = dict(table(layer))
            flat.update(table(given.pop("params", None)))
            flat.update(given)
        found[part] = flat
    prepare = (
        "text_template",
        "source_max_len",
        "max_samples",
        "text_cols",
        "input_cols",
        "label_cols",
    )
    for name, value in old.items():
        part = (
            "dataloader_config"
            if name == "batch_size"
            else ("pre_process_data_config" if name in prepare else "load_dataset_config")
        )
        found[part].setdefault(name, value)
    return found


def _load(prefix: str) -> dict[str, Field]:
    def place(it: Group) -> None:
        files = it.get("data_files")
        name = it.get("data_name") or it.get("dataset_name") or files
        if name is None:
            return
        used = "data_name" if it.get("data_name") else "data_files"
        it.read(
            f"{prefix}uri",
            used,
            lambda _: places.dataset(
                _first(name), files if it.get("data_name") else None, it.get("subset")
            ),
        )
        listed = files if isinstance(files, list) else []
        if len(listed) > 1:
            it.lost("data_files", "one file, or a star: further ones go into dataset.mix")
        it.same("data_files", f"{prefix}uri")
        it.same("subset", f"{prefix}uri", "a subset is a folder of the dataset here")
        split = it.get("split")
        where = "train" if prefix == "dataset." else "test"
        if split not in (None, "train" if where == "train" else ""):
            it.read(f"{prefix}{where}", "split", text)
        it.rest("the split train is taken")

    return {
        **several(
            "data_name dataset_name data_files subset split",
            group(place, f"{prefix}uri", f"{prefix}train", f"{prefix}test"),
        ),
        "type": lost(
            "no code of yours makes rows: put them into a file",
            "huggingface_dataset",
            "local_dataset",
            "dummy_dataset",
            "raw_dataset",
        ),
        **several(
            "trust_remote_code token kwargs cache_dir max_samples_to_load",
            moot("rows are read as they are needed"),
        ),
        **several("user_script script_dir", lost("no code of yours makes rows")),
    }


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _prepare(prefix: str, length: str) -> dict[str, Field]:
    def rows(it: Group) -> None:
        columns = it.get("text_cols")
        if it.get("text_template") is not None:
            it.read(f"{prefix}template", "text_template", text)
        elif it.get("chat_template") not in (None, False):
            column = it.get("message_col")
            name = column if isinstance(column, str) else "messages"
            it.put(f"{prefix}columns", {"messages": name}, "chat_template")
            if isinstance(it.get("chat_template"), str):
                it.put(f"{prefix}chatTemplate.text", it.get("chat_template"), "chat_template")
        elif columns is not None:
            it.read(
                f"{prefix}template",
                "text_cols",
                lambda value: " ".join(f"{{{name}}}" for name in words(value)),
            )
        elif it.get("input_cols") is not None:
            _pairs(it, prefix)
        it.rest("rows read by their template or columns")

    def most(it: Group) -> None:
        if prefix != "dataset.":
            it.read("evaluation.maxSamples", "max_samples", lambda v: whole(v) if v != -1 else None)
            return
        split = str(it.draft.get("dataset.train") or "train")
        if it.get("max_samples") in (None, -1):
            it.moot("max_samples", "all rows are learnt from")
        elif "[" in split:
            it.lost("max_samples", "dataset.train takes a slice already")
        else:
            it.read("dataset.train", "max_samples", lambda value: f"{split}[:{whole(value)}]")

    return {
        **several(
            "text_template text_cols chat_template message_col input_cols label_cols label_col",
            group(rows, f"{prefix}template", f"{prefix}columns", f"{prefix}chatTemplate.text"),
        ),
        "max_samples": group(
            most, "dataset.train" if prefix == "dataset." else "evaluation.maxSamples"
        ),
        **several("max_seq_len source_max_len max_length seqlen", to(length, whole)),
        **several(
            "corpus_strategy strategy",
            lost(
                "rows are learnt one by one; training.packing puts whole ones into a batch's rows",
                "line-by-line",
                "line-by-line-random",
            ),
        ),
        **several(
            "stride joiner random_seed random_retries drop_short_sequences",
            lost("texts aren't joined: dataset.longRows says what becomes of long ones"),
        ),
        "text_formatting_func": lost("no code of yours writes rows: dataset.template does"),
        **several(
            "type add_special_tokens pad_to_max_len padding_side use_attention_mask "
            "processing_batch_size model_name task trust_remote_code align_labels padding "
            "truncation kv_cache model_config_path user_script script_dir batch_size "
            "special_tokens",
            moot("the tokenizer is the model's own"),
        ),
    }


def _pairs(it: Group, prefix: str) -> None:
    """The columns of a classifier."""
    inputs = of_texts(it.get("input_cols"))
    label = of_texts(it.get("label_cols") or it.get("label_col") or "label")
    if not inputs:
        it.lost("input_cols", "columns have names here")
        return
    columns = {"text": inputs[0], "label": label[0] if label else "label"}
    it.put(f"{prefix}columns", columns, "input_cols")
    if len(inputs) > 1:
        it.lost(
            "input_cols", "one text is classified: join the columns in the data, or by a template"
        )


_LOADER = several(
    "batch_size drop_last shuffle num_workers type sampler collate_fn",
    moot("evaluation.batchSize and training.perDeviceBatchSize say it"),
)
_OF_TUNING = {
    "load_dataset_config": _load("dataset."),
    "pre_process_data_config": _prepare("dataset.", "training.maxLength"),
    "post_process_data_config": {},
    "dataloader_config": _LOADER,
}
_OF_PACKAGE = {
    "load_dataset_config": _load("evaluation.dataset."),
    "pre_process_data_config": _prepare("evaluation.dataset.", "evaluation.maxLength"),
    "post_process_data_config": {},
    "dataloader_config": {**_LOADER, "batch_size": to("evaluation.batchSize", whole)},
}
TABLES_OF_TUNING = {f"data_configs.{name}.": it for name, it in _OF_TUNING.items()}
TABLES_OF_PACKAGE = {f"data_configs.{name}.": it for name, it in _OF_PACKAGE.items()}


def _walk(draft: Draft, name: str, entry: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
    for part, given in _parts(entry).items():
        where = f"data_configs.{name}.{part}."
        if part == "post_process_data_config":
            if given:
                draft.moot(where.rstrip("."), given, "metrics read the model's answers")
            continue
        walk(tables[part], given, draft, where)
    for script in ("user_script", "script_dir"):
        if entry.get(script):
            draft.lost(
                f"data_configs.{name}.{script}", entry[script], "no code of yours makes rows"
            )


def _entry(reference: Any, named: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    if isinstance(reference, dict):
        return str(reference.get("name") or "data"), reference
    return (str(reference), named[str(reference)]) if str(reference) in named else None


def train(draft: Draft, it: Pass, named: Mapping[str, Any]) -> None:
    """The rows that a pass learns from, and those that it is measured on."""
    first = next(iter(named), None)
    found = _entry(it.config.get("train_data_config") or first, named)
    if found:
        _walk(draft, found[0], found[1], _OF_TUNING)
        if draft.get("dataset.template") is None and draft.get("dataset.columns") is None:
            draft.put("dataset.template", "{text}", "text_cols", fate=Fate.DEFAULT)
    evaluated = _entry(it.config.get("eval_data_config"), named)
    if evaluated is None:
        return
    parts = _parts(evaluated[1])["load_dataset_config"]
    split, where = parts.get("split"), f"data_configs.{evaluated[0]}"
    if isinstance(split, str) and parts.get("data_name") == (
        _parts(found[1])["load_dataset_config"].get("data_name") if found else None
    ):
        draft.put("dataset.eval", split, f"{where}.load_dataset_config.split", split)
    else:
        draft.lost(
            where, evaluated[0], "rows to measure on come from the same dataset: set dataset.eval"
        )


def evaluate(
    draft: Draft, given: Mapping[str, Any], engine: Mapping[str, Any], task: str, tuned: bool
) -> None:
    """Evaluators: metrics, the rows that they are measured on, goals."""
    named, evaluators = configs(given), table(given.get("evaluators"))
    reference = engine.get("evaluator")
    evaluator = (
        table(reference)
        or table(evaluators.get(str(reference)))
        or (table(next(iter(evaluators.values()), {})))
    )
    if str(evaluator.get("type") or "").lower() == "lmevaluator" or evaluator.get("tasks"):
        draft.lost(
            "evaluators",
            evaluator.get("tasks"),
            "lm-eval's tasks aren't run: your rows are measured",
        )
        return
    metrics = evaluator.get("metrics")
    wanted: list[str] = []
    rows: Any = None
    for index, entry in enumerate(metrics if isinstance(metrics, list) else []):
        metric = table(entry)
        where = f"evaluators.metrics[{index}]"
        rows = rows or metric.get("data_config")
        kind = str(metric.get("type") or "").lower()
        if kind in ("latency", "throughput", "size_on_disk"):
            _speed(draft, metric, where)
        elif kind == "accuracy":
            wanted += _quality(draft, metric, where, task, tuned or rows is not None)
        else:
            draft.lost(
                where,
                metric.get("name"),
                "evaluation.script runs metrics of your own, in a FineTuneJob",
            )
    found = _entry(rows, named)
    if not wanted or tuned:
        return
    if found is None:
        draft.lost("evaluators", wanted, "no data_config has its rows: set evaluation.dataset")
        draft.drop(("gates",), "there are no rows to measure it on: set evaluation.dataset")
        return
    _walk(draft, found[0], found[1], _OF_PACKAGE)
    draft.put("evaluation.task", task, "input_model.task", task)
    metrics_here = [
        it for it in dict.fromkeys(wanted) if (it in _BY_CLASS) == (task == "classification")
    ]
    draft.put("evaluation.metrics", ["loss", *metrics_here], "evaluators", wanted)
    if draft.get("evaluation.dataset.uri") is None:
        draft.drop(("evaluation",), "its rows have no URI: set evaluation.dataset")
        draft.drop(("gates",), "there are no rows to measure it on: set evaluation.dataset")
    elif not any(draft.get(f"evaluation.dataset.{it}") for it in ("test", "eval", "evalFraction")):
        draft.put(
            "evaluation.dataset.test",
            "train",
            why="all rows measure, none are learnt from",
            fate=Fate.DIFFERS,
        )


def _subtypes(metric: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = metric.get("sub_types")
    found = [it for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []
    older = metric.get("sub_type")
    return found or ([{"name": older, "goal": metric.get("goal")}] if older else [])


def _speed(draft: Draft, metric: Mapping[str, Any], where: str) -> None:
    for sub in _subtypes(metric):
        if sub.get("goal"):
            draft.lost(
                f"{where}.{sub.get('name')}.goal",
                table(sub["goal"]).get("value"),
                "gates.minTokensPerSecond and maxFirstTokenMs are absolute",
            )
    draft.moot(where, metric.get("name"), "speed, memory and size of each candidate are measured")


def _quality(
    draft: Draft, metric: Mapping[str, Any], where: str, task: str, measured: bool
) -> list[str]:
    wanted = []
    for sub in _subtypes(metric):
        name = str(sub.get("name"))
        ours = _METRICS.get(name)
        if ours is None or (ours in _BY_CLASS) != (task == "classification"):
            draft.lost(f"{where}.{name}", name, "it is no metric of this task here")
            continue
        wanted.append(ours)
        draft.tell(f"{where}.{name}", name, Fate.SAME, "spec.evaluation.metrics")
        goal = table(sub.get("goal"))
        if goal and measured:
            _goal(draft, goal, f"{where}.{name}.goal", ours)
    return wanted


def _goal(draft: Draft, goal: Mapping[str, Any], where: str, metric: str) -> None:
    try:
        value = number(goal.get("value"))
    except UnsaidError as reason:
        draft.lost(where, goal.get("value"), str(reason))
        return
    if goal.get("type") == "max-degradation" and metric in _BY_CLASS and not draft.get("gates"):
        draft.put("gates.metric", metric, where, value)
        draft.put(
            "gates.maxMetricDrop",
            value,
            where,
            value,
            fate=Fate.DIFFERS,
            why="the whole 95% interval of the difference must keep it",
        )
    else:
        draft.lost(
            where, value, "gates.maxMetricDrop and maxPerplexityIncrease bound a loss of quality"
        )
