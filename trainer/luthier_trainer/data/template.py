"""Templates: a row becomes a prompt and a completion.

`{column}` stands for a value of the row, `{{` and `}}` for literal braces, a backslash and
an n for a new line. In a column's name a backslash stands before signs that aren't taken plain.
The last column, and what follows it, is the completion; what is before it is the prompt.
"""

import re
from dataclasses import dataclass

from luthier_api.dataset import FIELD
from luthier_trainer.errors import data_error

_TOKEN = re.compile(rf"\{{\{{|\}}\}}|({FIELD})|[{{}}]")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Text:
    """One example. The template's spaces before the last column belong to the completion:
    tokenizers join a word with the space before it."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Template:
    """Literals and columns in turn: literals[0], columns[0], literals[1], …"""

    literals: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def label_column(self) -> str:
        return self.columns[-1]

    @property
    def label_in_prompt(self) -> bool:
        """Whether the prompt gives the answer away."""
        return self.label_column in self.columns[:-1]

    def render(self, values: dict[str, str]) -> Text:
        """The example of a row that has all `columns`."""
        prompt = ""
        for literal, column in zip(self.literals, self.columns[:-1], strict=False):
            prompt += literal + values[column]
        prompt += self.literals[-2].rstrip(" ")
        return Text(prompt, self.completion(values[self.label_column]))

    def completion(self, label: str) -> str:
        """The completion for a value of the last column."""
        before = self.literals[-2]
        return before[len(before.rstrip(" ")) :] + label + self.literals[-1]


def parse_template(source: str) -> Template:
    """Raises TrainerError (TemplateInvalid) for an unpaired brace or a lack of columns."""
    literals, columns = [""], []
    position = 0
    for match in _TOKEN.finditer(source):
        literals[-1] += source[position : match.start()]
        position = match.end()
        token, field = match.group(), match.group(1)
        if field:
            columns.append(_ESCAPED.sub(r"\1", field[1:-1]))
            literals.append("")
        elif token in ("{{", "}}"):
            literals[-1] += token[0]
        else:
            raise data_error(
                "TemplateInvalid",
                f"unpaired {token!r} at character {match.start() + 1} of the template; write "
                f"{token * 2} for a literal brace, and in a column's name a backslash before signs "
                "other than letters, digits and blanks between them",
                "dataset.template",
            )
    literals[-1] += source[position:]
    if not columns:
        raise data_error(
            "TemplateInvalid", "the template names no {column} of the dataset", "dataset.template"
        )
    return Template(tuple(literal.replace("\\n", "\n") for literal in literals), tuple(columns))
