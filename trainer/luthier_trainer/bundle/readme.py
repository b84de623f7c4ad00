"""README.md of a package: what it holds, and how it is run."""

from collections.abc import Iterable, Mapping
from typing import Any

from luthier_trainer.bundle.index import AdapterPart, Index
from luthier_trainer.packages.genai.readme import NEEDS, program
from luthier_trainer.pages.howto import messages_of, new_tokens, prompt_of, section
from luthier_trainer.pages.markdown import code, fenced, inline, row
from luthier_trainer.published.ask import Ask

_NEW_GENERATOR = """\
Make a new `Generator` for each request: an adapter that is switched on one that has read tokens
is accepted, but goes on from the states of the adapter before."""


def readme(title: str, index: Index, document: Mapping[str, Any]) -> str:
    """Markdown. `document`: the base's genai_config.json."""
    base, first = index.base, index.adapters[0]
    parts = [
        f"# {inline(title)}",
        f"{len(index.adapters)} adapters on one base, {code(base.uri)} ({base.architecture}), in "
        f"{base.precision} for {base.device}. Adapters keep their precision; `index.json` has "
        "digests, sources and proofs, `manifest.json` the digest of every file.",
        _table(index.adapters),
        *_own_code(index),
        *_left_out(index),
        "## Use it",
        f"With the loader that lies here (`luthier_bundle.py`; it needs {NEEDS} alone):",
        fenced(_loader(first), "python"),
        "With onnxruntime-genai itself:",
        fenced(program(document, base.begin_tokens, first.ask, first.file), "python"),
        _NEW_GENERATOR,
        *_asked(index.adapters),
    ]
    return "\n\n".join(parts) + "\n"


def _loader(part: AdapterPart) -> str:
    name, ask = part.name, part.ask
    conversation = messages_of(ask)
    asked = f"messages = {conversation!r}" if conversation else f"prompt = {prompt_of(ask)!r}"
    variable = "messages" if conversation else "prompt"
    return "\n".join(
        [
            "from luthier_bundle import Bundle",
            "",
            'bundle = Bundle(".")',
            asked,
            f'print(bundle.generate("{name}", {variable}, max_new_tokens={new_tokens(ask)}))',
            f"# bundle.generate(None, {variable}): the base alone",
        ]
    )


def _asked(adapters: Iterable[AdapterPart]) -> list[str]:
    """Of each adapter whose run told it."""
    asks: list[tuple[str, Ask]] = [(part.name, part.ask) for part in adapters if part.ask]
    parts = ["## How each adapter is asked"] if asks else []
    for name, ask in asks:
        parts += section(ask, heading=f"### {code(name)}")
    return parts


def _table(adapters: Iterable[AdapterPart]) -> str:
    head = ["adapter", "rank", "modules", "logits differ by", "its metric: reported, here"]
    lines = [row(head), "|---" * len(head) + "|"]
    for part in adapters:
        found = part.proof.measured
        metric = f"{found.metric} {found.reported:.4g}, {found.value:.4g}" if found else "–"
        ranks = ", ".join(map(str, part.ranks))
        modules = ", ".join(part.target_modules)
        differ = f"{part.proof.logits_difference:.2g}"
        lines.append(row([code(part.name), ranks, inline(modules), differ, inline(metric)]))
    return "\n".join(lines)


def _own_code(index: Index) -> list[str]:
    names = ", ".join(code(part.name) for part in index.adapters if part.custom_code)
    if not names:
        return []
    return [
        f"Code of the user's own ran in the runs that trained {names}: who doesn't trust that code "
        "has no reason to trust these adapters."
    ]


def _left_out(index: Index) -> list[str]:
    if not index.left_out:
        return []
    lines = [f"- {code(part.name)}: {part.code}: {inline(part.message)}" for part in index.left_out]
    return ["## Left out", "\n".join(lines)]
