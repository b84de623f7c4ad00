"""How a package is run without Luthier, PyTorch and transformers: README.md."""

from luthier_trainer.objectives.objective import Head

_FRAME = """# {what}, {precision}

Made by Luthier. It runs with ONNX Runtime and tokenizers alone:

```python
{code}```

luthier.json lists what the graphs take and give.{more}
"""

_READS = """import json
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding(pad_id={pad})
session = ort.InferenceSession("model.onnx")
batch = tokenizer.encode_batch(["A first text.", "And a second one."])
ids, mask = (np.array([getattr(b, n) for b in batch]) for n in ("ids", "attention_mask"))
{use}"""
_RUN = 'session.run(None, {"input_ids": ids, "attention_mask": mask})'
_CLASSES = f"""(logits,) = {_RUN}
labels = json.load(open("luthier.json"))["labels"]
print([labels[best] for best in logits.argmax(-1)])
"""
_TAGS = f"""(logits,) = {_RUN}
labels = json.load(open("luthier.json"))["labels"]
print([[labels[tag] for tag in text] for text in logits.argmax(-1)])  # of each token
"""
_VECTORS = f"""hidden, vectors = {_RUN}
first, second = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
print(first @ second)  # how alike they are; `hidden` has the vectors of single tokens
"""
_POOLED = {
    "mean": "the mean of its tokens' vectors",
    "cls": "the vector of its first token",
    "last": "the vector of its last token, before padding",
}
_CONTINUES = """import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = ort.InferenceSession("model.onnx")
names = [each.name for each in session.get_inputs()][4:]
past = [np.zeros((1, {heads}, 0, {size}), np.{type})] * len(names)
ids = new = tokenizer.encode("Once upon a time").ids
while len(ids) < 60 and new[-1] not in {ends}:
    feed = {{"input_ids": np.array([new]), "attention_mask": np.ones((1, len(ids)), np.int64)}}
    feed["position_ids"] = np.arange(len(ids) - len(new), len(ids))[None]
    feed["logits_to_keep"] = np.array([-1])
    logits, *past = session.run(None, feed | dict(zip(names, past)))
    ids = ids + (new := [int(logits[0, -1].argmax())])
print(tokenizer.decode(ids))
"""
_TRANSLATES = """import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
encoder, decoder = (ort.InferenceSession(f"{{name}}coder.onnx") for name in ("en", "de"))
source, ids = np.array([tokenizer.encode("A text.").ids]), [{start}]
_, *cross = encoder.run(None, {{"input_ids": source, "attention_mask": source * 0 + 1}})
names = [each.name for each in decoder.get_inputs()][2:]
past = [np.zeros((1, {heads}, 0, {size}), np.{type})] * len(cross)
while len(ids) == 1 or len(ids) < 60 and ids[-1] not in {ends}:
    feed = {{"input_ids": np.array([ids[-1:]]), "encoder_attention_mask": source * 0 + 1}}
    logits, *past = decoder.run(None, feed | dict(zip(names, [*past, *cross])))
    ids.append(int(logits[0, -1].argmax()))
print(tokenizer.decode(ids))
"""
_READ_BY = {
    "AutoModelForSequenceClassification": ("A classifier of texts", _CLASSES),
    "AutoModelForTokenClassification": ("A tagger of words", _TAGS),
    "AutoModel": ("Vectors of texts", _VECTORS),
}


def readme_of_reader(head: Head, precision: str, pad_id: int, pooling: str | None) -> str:
    """`pooling`: where texts become vectors, how."""
    what, use = _READ_BY[head.auto_class]
    code = _READS.format(pad=pad_id, use=use)
    if not head.labels:
        code = code.removeprefix("import json\n")
    more = f" A text's vector, `{pooling}`, is {_POOLED[pooling]}." if pooling else ""
    return _FRAME.format(what=what, precision=precision, code=code, more=more)


def readme_of_generator(
    precision: str, ends: list[int], past: tuple[int, int, str], start: int | None = None
) -> str:
    """`past`: heads, size and type of the keys and values. `start`: the first token of an
    encoder-decoder's target."""
    heads, size, type_ = past
    frame = _CONTINUES if start is None else _TRANSLATES
    what = "A language model" if start is None else "A model that turns a text into another"
    code = frame.format(ends=ends, heads=heads, size=size, type=type_, start=start)
    return _FRAME.format(what=what, precision=precision, code=code, more="")
