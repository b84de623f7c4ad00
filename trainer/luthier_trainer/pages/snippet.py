"""The program of a model card: it loads the artifact and asks it a row, by transformers. Pure."""

import glob
import shlex

from luthier_api.visible import one_line
from luthier_trainer.objectives.reading import Reading
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.howto import ids, messages_of, new_tokens, prompt_of, texts_of
from luthier_trainer.published.ask import Ask
from luthier_trainer.storage.uri import hub_parts, split

_GENERATES = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
_GREEDY = "do_sample=False, num_beams=1"
_POOLED = {
    "mean": "vectors = (hidden * mask).sum(1) / mask.sum(1)",
    "cls": "vectors = hidden[:, 0]",
    "last": "vectors = hidden[range(len(hidden)), mask.sum(1).flatten() - 1]",
}


def needs(method: str) -> str:
    """What the program imports, as pip names it."""
    if method == "full":
        return "`pip install torch transformers`"
    if method == "adapter":
        return "`pip install torch transformers safetensors`, and Luthier's trainer"
    return "`pip install torch transformers peft`"


def fetching(uri: str, commit: str | None) -> str:
    """How the base model comes into the folder `base`: commands take names as they are meant."""
    scheme, place, path = split(uri)
    match scheme:
        case "hf":
            return _of_hub(uri, commit or "main")
        case "s3":
            return f"aws s3 cp --recursive {shlex.quote(f's3://{place}{path}')} base"
        case "pvc":
            # No command reaches a claim from everywhere.
            folder = f"the folder {one_line(path.strip('/'))} of " if path.strip("/") else ""
            return f"# copy {folder}the PersistentVolumeClaim {place} to base"
        case _:
            return f"cp -r {shlex.quote(path)} base"


def _of_hub(uri: str, revision: str) -> str:
    parts = hub_parts(uri, "models")
    name, path = shlex.quote("/".join(parts[:2])), "/".join(parts[2:])
    at = f"--revision {shlex.quote(revision)}"
    if not path:
        return f"hf download {name} {at} --local-dir base"
    only, there = shlex.quote(f"{glob.escape(path)}/*"), shlex.quote(f"whole/{path}")
    return f"hf download {name} --include {only} {at} --local-dir whole && mv {there} base"


def snippet(method: str, facts: Facts, ask: Ask | None = None, pooling: str = "mean") -> str:
    """Python that loads the artifact and asks it; its folders, and the base's, lie beside it."""
    imports = ["import torch", f"from transformers import {facts.auto_class}, AutoTokenizer"]
    if method == "adapter":
        imports = ["from pathlib import Path", "", *imports, ""]
        imports.append("from luthier_trainer.methods import bottleneck")
    elif method != "full":
        imports.insert(1, "from peft import PeftModel")
    if facts.auto_class in _GENERATES:
        asking = _generating(facts, ask)
    else:
        asking = _reading(facts, ask, pooling)
    if not any("torch." in line for line in asking):
        imports.remove("import torch")
    return "\n".join([*imports, "", *_loading(method, facts), "", *_given(facts, ask), *asking])


def _loading(method: str, facts: Facts) -> list[str]:
    auto, folder = facts.auto_class, facts.artifact
    tokenizer = f'tokenizer = AutoTokenizer.from_pretrained("{folder}")'
    if method == "full":
        return [tokenizer, f'model = {auto}.from_pretrained("{folder}").eval()']
    options = f", num_labels={len(facts.labels)}" if facts.labels and "For" in auto else ""
    options = options if "Classification" in auto else ""
    lines = [tokenizer, f'base = {auto}.from_pretrained("base"{options})  # the base model']
    if method == "qlora":
        lines += [
            "# Measured on the 4-bit base: to get the same numbers, load it with",
            "# quantization_config=BitsAndBytesConfig(load_in_4bit=True, …)",
        ]
    if method == "adapter":
        lines.append(f'model = bottleneck.load(base, Path("{folder}")).eval()')
    else:
        lines.append(f'model = PeftModel.from_pretrained(base, "{folder}").eval()')
    if facts.merged:
        lines += [
            "# Or the merged model, without adapters:",
            f'# model = {auto}.from_pretrained("model").eval()',
        ]
    return lines


def _given(facts: Facts, ask: Ask | None) -> list[str]:
    if facts.auto_class not in _GENERATES:
        several = facts.auto_class == "AutoModel"
        lines = [f"texts = {texts_of(ask)[: 2 if several else 1]!r}"]
        if facts.labels and not (ask and ask.reading and ask.reading.answer == "number"):
            lines.append(f"labels = {list(facts.labels)!r}")
        return lines
    if messages := messages_of(ask):
        return [f"messages = {messages!r}"]
    return [f"prompt = {prompt_of(ask)!r}"]


def _generating(facts: Facts, ask: Ask | None) -> list[str]:
    stop = f", eos_token_id={[it.id for it in ask.stop]}" if ask and ask.stop else ""
    options = f"max_new_tokens={new_tokens(ask)}, {_GREEDY}{stop}"
    answer = "print(tokenizer.decode(output[0], skip_special_tokens=True))"
    if facts.auto_class == "AutoModelForSeq2SeqLM":
        return [
            'inputs = tokenizer([prompt], return_tensors="pt")',
            f"output = model.generate(**inputs, {options})",
            answer,
        ]
    encoded = ids("tokenizer(prompt, add_special_tokens=False).input_ids", ask.begin if ask else [])
    if messages_of(ask):
        encoded = (
            "tokenizer.apply_chat_template(messages, add_generation_prompt=True, "
            "return_dict=True).input_ids"
        )
    return [
        f"ids = torch.tensor([{encoded}])",
        "output = model.generate(",
        "    input_ids=ids, attention_mask=torch.ones_like(ids),",
        f"    {options}",
        ")",
        answer.replace("output[0]", "output[0, ids.shape[1] :]"),
    ]


def _reading(facts: Facts, ask: Ask | None, pooling: str) -> list[str]:
    several = facts.auto_class == "AutoModel"
    read = [
        *(['tokenizer.padding_side = "right"'] if several else []),
        *(["tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token"] if several else []),
        f'inputs = tokenizer(texts{", padding=True" if several else ""}, return_tensors="pt")',
        "with torch.no_grad():",
        "    outputs = model(**inputs)",
    ]
    if facts.auto_class == "AutoModelForSequenceClassification":
        return [*read, *_answer(ask.reading if ask else None)]
    if facts.auto_class == "AutoModelForTokenClassification":
        return [
            *read,
            "print([[labels[tag] for tag in text] for text in outputs.logits.argmax(-1).tolist()])",
        ]
    return [
        *read,
        'hidden, mask = outputs.last_hidden_state, inputs["attention_mask"][..., None]',
        _POOLED[pooling],
        "print(torch.cosine_similarity(vectors[0], vectors[-1], dim=0).item())",
    ]


def _answer(reading: Reading | None) -> list[str]:
    """Python that prints what a text's head says; `outputs` and `labels` are there."""
    if reading and reading.answer == "number":
        return [
            f"print((outputs.logits[:, 0] * {reading.deviation!r} + {reading.mean!r}).tolist())"
        ]
    scaled = "outputs.logits"
    if reading and reading.temperature != 1:
        scaled = f"(outputs.logits / {reading.temperature!r})"
    if reading and reading.answer == "labels":
        thresholds = reading.thresholds or "[0.5] * len(labels)"
        return [
            f"thresholds = {thresholds}",
            f"for sure in {scaled}.sigmoid().tolist():",
            "    print([n for n, p, least in zip(labels, sure, thresholds) if p >= least])",
        ]
    best = "print([labels[best] for best in outputs.logits.argmax(-1).tolist()])"
    if scaled == "outputs.logits":
        return [best]
    return [best, f"print({scaled}.softmax(-1).max(-1).values.tolist())  # how sure"]
