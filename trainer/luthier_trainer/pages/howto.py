"""How to ask a model, for people: what ask.json says in words, and in Python. Pure.

The programs are the README's of every kind of artifact. Texts of the data stand in them as
Python's own literals, so that nothing of them is code.
"""

from collections.abc import Sequence

from luthier_trainer.pages.markdown import code, fenced
from luthier_trainer.published.ask import Ask

_FALLBACK = "Once upon a time"
_ENDED = "The model answered"
_MOST_CHOICES = 30


def section(ask: Ask | None, *, heading: str = "### How it is asked") -> list[str]:
    """Paragraphs of Markdown; none where nobody told."""
    if ask is None:
        return []
    return [heading, *_form(ask), *_stops(ask), *_row(ask)]


def prompt_of(ask: Ask | None) -> str:
    """What a program asks: the row's text, else the template without its answer."""
    if ask and ask.row:
        return ask.row.prompt
    if ask and ask.template:
        return _asked(ask)
    return _FALLBACK


def texts_of(ask: Ask | None) -> list[str]:
    """What a program reads, where a model reads texts."""
    if ask and ask.row:
        return [text for text in (ask.row.prompt, ask.row.second) if text is not None]
    return ["A first text.", "And a second one."]


def messages_of(ask: Ask | None) -> list[dict[str, str]] | None:
    """The row as a conversation, where it is one."""
    messages = ask.row.messages if ask and ask.row else None
    return [{"role": it.role, "content": it.content} for it in messages] if messages else None


def new_tokens(ask: Ask | None) -> int:
    return ask.max_new_tokens if ask else 128


def ids(encoded: str, begin: Sequence[int]) -> str:
    """Python for a prompt's tokens: `encoded`, without special ones, behind those that a text
    begins with."""
    return f"{list(begin)} + {encoded}" if begin else encoded


def _form(ask: Ask) -> list[str]:
    match ask.form:
        case "template":
            columns = ", ".join(code(name) for name in ask.columns)
            filled = f", with the values of {columns}" if columns else ""
            return [
                f"The prompt is the template's text before its last column{filled}; what the model "
                f"goes on with is {code(ask.answer_column or '')}:",
                fenced(ask.template or "", "text"),
                *_choices(ask),
            ]
        case "prompt":
            named = f" (the column {code(ask.columns[0])})" if ask.columns else ""
            return [f"The prompt{named} is read as it is, without a template.", *_choices(ask)]
        case "chat":
            return [
                "It is asked by conversations, as its chat template writes them, with the "
                "generation prompt."
            ]
        case "words":
            return ["It reads words with one blank between them, and tags each."]
        case "pair":
            return ["It reads two texts, and tells how alike they are."]
        case "text":
            return ["It reads the text as it is, without a template.", *_read(ask)]


def _read(ask: Ask) -> list[str]:
    """How the logits of a head become an answer."""
    reading = ask.reading
    if reading is None or (reading.answer == "label" and reading.temperature == 1):
        return []
    scaled = "" if reading.temperature == 1 else f" / {reading.temperature:.4g}"
    match reading.answer:
        case "label":
            return [
                f"How sure it is of its class is softmax(logits{scaled}): this temperature makes "
                "these probabilities true on the run's eval rows."
            ]
        case "labels":
            least = "its threshold, chosen on eval" if reading.thresholds else "0.5"
            return [f"A text has the classes whose sigmoid(logit{scaled}) reaches {least}."]
        case "number":
            return [f"The number is its output × {reading.deviation:.6g} + {reading.mean:.6g}."]


def _choices(ask: Ask) -> list[str]:
    if not ask.choices:
        return []
    shown = ", ".join(code(choice) for choice in ask.choices[:_MOST_CHOICES])
    more = len(ask.choices) - _MOST_CHOICES
    return [
        f"Its answers are {shown}{f' and {more} more' if more > 0 else ''}. The run took the "
        "likeliest of them, which is what a tuned model says by itself, too."
    ]


def _stops(ask: Ask) -> list[str]:
    if not ask.stop:
        return []
    ends = ", ".join(f"{code(stop.text)} ({stop.id})" for stop in ask.stop)
    several = "s" if len(ask.begin) > 1 else ""
    begin = f" Every text begins with the token{several} {', '.join(map(str, ask.begin))}."
    return [f"An answer ends at {ends}.{begin if ask.begin else ''}"]


def _row(ask: Ask) -> list[str]:
    row = ask.row
    if row is None:
        return []
    head = "A row that was measured" + (", cut:" if row.answer is None else ":")
    parts = [head, fenced(row.prompt, "text")]
    if row.second is not None:
        parts.append(fenced(row.second, "text"))
    if row.answer is not None:
        parts.append(_said(_ENDED, row.answer))
    if row.answer != row.expected:
        parts.append(_said("The data says", row.expected))
    else:
        parts.append("That is what the data says, too.")
    return parts


def _said(who: str, text: str) -> str:
    if "\n" in text or len(text) > 100 or not text.strip():
        return f"{who}:\n\n{fenced(text, 'text')}"
    return f"{who}: {code(text)}"


def _asked(ask: Ask) -> str:
    """The template before its last column, as it is written."""
    before, mark, _ = (ask.template or "").rpartition("{" + (ask.answer_column or "") + "}")
    return before.rstrip(" ").replace("\\n", "\n") if mark else _FALLBACK
