"""How the published package is asked: what its cards say, by its format."""

import json
from pathlib import Path

from luthier_trainer.packages.genai import readme as genai
from luthier_trainer.packages.onnx.layout import LAYOUT
from luthier_trainer.packages.onnx.readme import readme as plain_readme
from luthier_trainer.pages.howto import section
from luthier_trainer.pages.markdown import fenced
from luthier_trainer.pages.summary import Summary


def explain(package: Path, summary: Summary) -> list[str]:
    """Paragraphs of Markdown. A package of plain ONNX gets its own README.md anew, since what is
    asked wasn't known when it was built."""
    if summary.format != "genai":
        layout = json.loads((package / LAYOUT).read_bytes())
        (package / "README.md").write_text(plain_readme(layout, summary.ask))
        return [f"`{package.name}/README.md` has the program.", *section(summary.ask)]
    return [
        f"In the folder of this card; it needs {genai.NEEDS}:",
        fenced(genai.program_of(package, summary.begin, summary.ask), "python"),
        "Prompts of a batch are of one length, or padded at the right (with a sliding window: of "
        "one length): padding at the left changes the answers.",
        *section(summary.ask),
    ]
