"""README.md of a package: what it holds, and how it is run."""

from collections.abc import Iterable

from luthier_trainer.bundle.index import AdapterPart, Index

_USE = """\
## Use it

With the loader that lies here (`luthier_bundle.py`; it needs `pip install onnxruntime-genai`
alone):

```python
from luthier_bundle import Bundle

bundle = Bundle(".")
print(bundle.generate("{adapter}", "Once upon a time"))
print(bundle.generate(None, "Once upon a time"))  # the base alone
```

With onnxruntime-genai itself:

```python
import onnxruntime_genai as og

model = og.Model("model")
adapters = og.Adapters(model)
adapters.load("{file}", "{adapter}")

tokenizer = og.Tokenizer(model)
params = og.GeneratorParams(model)
params.set_search_options(max_length=256)
generator = og.Generator(model, params)
generator.set_active_adapter(adapters, "{adapter}")
generator.append_tokens({ids})
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))
```

Make a new `Generator` for each request: an adapter that is switched on one that has read tokens
is accepted, but goes on from the states of the adapter before.
"""


def readme(title: str, index: Index) -> str:
    """Markdown."""
    base, first = index.base, index.adapters[0]
    parts = [
        f"# {title}\n",
        f"{len(index.adapters)} adapters on one base, `{base.uri}` ({base.architecture}), in "
        f"{base.precision} for {base.device}. Adapters keep their precision; `index.json` has "
        "digests, sources and proofs, `manifest.json` the digest of every file.\n",
        _table(index.adapters),
        *_left_out(index),
        _USE.format(adapter=first.name, file=first.file, ids=_ids(base.begin_tokens)),
    ]
    return "\n".join(parts)


def _ids(begin: list[int]) -> str:
    """The tokens of a prompt, in Python."""
    encoded = 'tokenizer.encode("Once upon a time")'
    if not begin:
        return encoded
    first = ", ".join(map(str, begin))
    return f"[{first}, *{encoded}]  # unless they begin with {first} already"


def _table(adapters: Iterable[AdapterPart]) -> str:
    head = "| adapter | rank | modules | logits differ by | its metric: reported, here |"
    lines = [head, "|---|---|---|---|---|"]
    for part in adapters:
        found = part.proof.measured
        metric = f"{found.metric} {found.reported:.4g}, {found.value:.4g}" if found else "–"
        ranks = ", ".join(map(str, part.ranks))
        modules = ", ".join(part.target_modules)
        differ = f"{part.proof.logits_difference:.2g}"
        lines.append(f"| `{part.name}` | {ranks} | {modules} | {differ} | {metric} |")
    return "\n".join(lines) + "\n"


def _left_out(index: Index) -> list[str]:
    if not index.left_out:
        return []
    lines = [f"- `{part.name}`: {part.code}: {part.message}" for part in index.left_out]
    return ["## Left out\n", "\n".join(lines) + "\n"]
