"""How the demo asks a bundle, and what it counts as right."""

import json
from pathlib import Path

import pytest
import yaml

from luthier_demo import answers, play


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (" noun", True),
        (" Noun\nDefinition", True),
        ("\n\n**noun**.", True),
        (" nouns", False),
        (" a noun", False),
        (" verb noun", False),
        (" ...", False),
        ("", False),
    ],
)
def test_the_first_word_decides(answer: str, right: bool) -> None:
    assert answers.is_right(answer, "noun") is right


@pytest.mark.parametrize("name", play.TUNED)
def test_a_question_is_the_prompt_that_the_run_learnt_from(name: str, tmp_path: Path) -> None:
    rows = [{"gloss": f"thing {{number}} {number}", "label": "noun"} for number in range(99)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = answers.questions(play.TUNED[name], tmp_path)
    assert len(found) == answers.ROWS
    template = yaml.safe_load(play.TUNED[name].read_text())["spec"]["dataset"]["template"]
    whole = template.replace("{gloss}", rows[7]["gloss"]).replace("{label}", "noun")
    assert f"{found[7].prompt} {found[7].label}" == whole
    assert not found[7].prompt.endswith(" ")
