"""How a package is run without Luthier, PyTorch and transformers: README.md. Pure."""

from collections.abc import Mapping
from typing import Any

from luthier_trainer.pages.howto import ids, new_tokens, prompt_of, section, texts_of
from luthier_trainer.pages.markdown import fenced
from luthier_trainer.published.ask import Ask

NEEDS = "`pip install onnxruntime tokenizers`"

_READS = """import json
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding(pad_id={pad})
session = ort.InferenceSession("model.onnx")
batch = tokenizer.encode_batch({texts!r})
ids, mask = (np.array([getattr(b, n) for b in batch]) for n in ("ids", "attention_mask"))
{use}"""
_RUN = 'session.run(None, {"input_ids": ids, "attention_mask": mask})'
_CLASSES = f"""(logits,) = {_RUN}
labels = json.load(open("luthier.json"))["labels"]
print([labels[best] for best in logits.argmax(-1)])"""
_SURE = """
powers = np.exp((logits - logits.max(-1, keepdims=True)) / {temperature})
print((powers / powers.sum(-1, keepdims=True)).max(-1).tolist())  # how sure"""
_LABELS = f"""(logits,) = {_RUN}
about = json.load(open("luthier.json"))
labels, reading = about["labels"], about["reading"]
for sure in 1 / (1 + np.exp(-logits / reading["temperature"])):
    given = sure >= np.array(reading["thresholds"] or 0.5)
    print([label for label, has in zip(labels, given) if has])"""
_NUMBER = f"""(logits,) = {_RUN}
reading = json.load(open("luthier.json"))["reading"]
print((logits[:, 0] * reading["deviation"] + reading["mean"]).tolist())"""
_TAGS = f"""(logits,) = {_RUN}
labels = json.load(open("luthier.json"))["labels"]
print([[labels[tag] for tag in text] for text in logits.argmax(-1)])  # of each token"""
_VECTORS = f"""hidden, vectors = {_RUN}
first, second = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
print(first @ second)  # how alike they are; `hidden` has the vectors of single tokens"""
_POOLED = {
    "mean": "the mean of its tokens' vectors",
    "cls": "the vector of its first token",
    "last": "the vector of its last token, before padding",
}
_CONTINUES = """import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer, prompt = Tokenizer.from_file("tokenizer.json"), {prompt!r}
session = ort.InferenceSession("model.onnx")
names = [each.name for each in session.get_inputs()][4:]
past = [np.zeros((1, {heads}, 0, {size}), np.{type})] * len(names)
ids = asked = new = {encoded}
while len(ids) < len(asked) + {most} and (ids is asked or new[-1] not in {ends}):
    feed = {{"input_ids": np.array([new]), "attention_mask": np.ones((1, len(ids)), np.int64)}}
    feed["position_ids"] = np.arange(len(ids) - len(new), len(ids))[None]
    feed["logits_to_keep"] = np.array([-1])
    logits, *past = session.run(None, feed | dict(zip(names, past)))
    ids = ids + (new := [int(logits[0, -1].argmax())])
print(tokenizer.decode(ids[len(asked) :]))"""
_TRANSLATES = """import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer, prompt = Tokenizer.from_file("tokenizer.json"), {prompt!r}
encoder, decoder = (ort.InferenceSession(f"{{name}}coder.onnx") for name in ("en", "de"))
source, ids = np.array([tokenizer.encode(prompt).ids]), [{start}]
_, *cross = encoder.run(None, {{"input_ids": source, "attention_mask": source * 0 + 1}})
names = [each.name for each in decoder.get_inputs()][2:]
past = [np.zeros((1, {heads}, 0, {size}), np.{type})] * len(cross)
while len(ids) == 1 or len(ids) <= {most} and ids[-1] not in {ends}:
    feed = {{"input_ids": np.array([ids[-1:]]), "encoder_attention_mask": source * 0 + 1}}
    logits, *past = decoder.run(None, feed | dict(zip(names, [*past, *cross])))
    ids.append(int(logits[0, -1].argmax()))
print(tokenizer.decode(ids))"""
_READ_BY = {
    "AutoModelForSequenceClassification": ("A classifier of texts", _CLASSES),
    "AutoModelForTokenClassification": ("A tagger of words", _TAGS),
    "AutoModel": ("Vectors of texts", _VECTORS),
}
_GENERATED_BY = {
    "AutoModelForCausalLM": ("A language model", _CONTINUES),
    "AutoModelForSeq2SeqLM": ("A model that turns a text into another", _TRANSLATES),
}


def readme(layout: Mapping[str, Any], ask: Ask | None = None) -> str:
    """`layout`: what luthier.json says of the package."""
    auto_class = layout["autoClass"]
    what, _ = (_READ_BY | _GENERATED_BY)[auto_class]
    pooling = layout.get("pooling")
    more = f" A text's vector, `{pooling}`, is {_POOLED[pooling]}." if pooling else ""
    parts = [
        f"# {what}, {layout['precision']}",
        f"Made by Luthier. In the folder of this file, it needs {NEEDS} alone:",
        fenced(program(layout, ask), "python"),
        f"luthier.json lists what the graphs take and give.{more}",
        *section(ask, heading="## How it is asked"),
    ]
    return "\n\n".join(parts) + "\n"


def program(layout: Mapping[str, Any], ask: Ask | None = None) -> str:
    """Python that asks the package, within its folder."""
    auto_class, tokens = layout["autoClass"], layout["tokens"]
    if auto_class in _READ_BY:
        _, use = _READ_BY[auto_class]
        if auto_class == "AutoModelForSequenceClassification":
            use = _of_a_head(layout.get("reading") or {})
        both = auto_class == "AutoModel" or not ask
        code = _READS.format(pad=tokens["pad"], texts=texts_of(ask)[: None if both else 1], use=use)
        return code if layout["labels"] else code.removeprefix("import json\n")
    _, frame = _GENERATED_BY[auto_class]
    begin = [] if ask and ask.form == "chat" and ask.row else tokens.get("begin", [])
    past = next(
        each
        for graph in layout["graphs"].values()
        for each in graph["inputs"]
        if each["name"].startswith("past_key_values.")
    )
    return frame.format(
        prompt=prompt_of(ask),
        encoded=ids("tokenizer.encode(prompt, add_special_tokens=False).ids", begin),
        most=new_tokens(ask),
        ends=tokens["ends"],
        heads=past["shape"][1],
        size=past["shape"][3],
        type=past["type"],
        start=tokens.get("start"),
    )


def _of_a_head(reading: Mapping[str, Any]) -> str:
    match reading.get("answer"):
        case "labels":
            return _LABELS
        case "number":
            return _NUMBER
    temperature = reading.get("temperature", 1)
    return _CLASSES if temperature == 1 else _CLASSES + _SURE.format(temperature=temperature)
