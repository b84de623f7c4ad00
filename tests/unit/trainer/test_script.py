"""The user's own evaluation: what it is given, what it may return, how its errors read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from luthier_api.result import ExitCode
from luthier_trainer.data.examples import Chat, Completion, Labelled, Pair, Tagged, Turn
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.evaluation import script

ROWS = [Labelled("a red tomato", "red", "test.jsonl line 1"), Labelled("sky", "blue", "line 2")]
Run = Callable[[str], dict[str, float]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Write `source` as eval.py, load it, and call its evaluate_model."""

    def run_(source: str) -> dict[str, float]:
        path = tmp_path / "eval.py"
        path.write_text(source)
        function = script.load(path, "evaluate_model")
        return script.evaluate(function, path, tmp_path / "artifact", ROWS)

    return run_


def returning(expression: str) -> str:
    head = "import math\ndef evaluate_model(model_path, test_dataset, metric_type):\n"
    return f"{head}    return {expression}\n"


def error_of(run: Run, source: str) -> str:
    with pytest.raises(TrainerError) as caught:
        run(source)
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert caught.value.error.code == "UserCodeFailed"
    assert caught.value.error.param == "evaluation.script"
    return caught.value.error.message


def test_it_is_given_the_folder_the_rows_and_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "size").write_text("7")
    found = run(
        "from pathlib import Path\n"
        "def evaluate_model(model_path, test_dataset, metric_type):\n"
        "    assert metric_type == 'all'\n"
        "    assert test_dataset[0] == {'text': 'a red tomato', 'label': 'red'}\n"
        "    size = Path(model_path, 'size').read_text()\n"
        "    return {'size': int(size), 'rows': len(test_dataset)}\n"
    )
    assert found == {"script_size": 7.0, "script_rows": 2.0}


@pytest.mark.parametrize(
    ("example", "row"),
    [
        (Completion("Q", " A", "A", "p"), {"prompt": "Q", "completion": " A", "label": "A"}),
        (
            Chat((Turn("user", "Hi"), Turn("assistant", "Ho")), "p"),
            {
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Ho"},
                ]
            },
        ),
        (Tagged(("a", "b"), ("O", "B-X"), "p"), {"tokens": ["a", "b"], "tags": ["O", "B-X"]}),
        (Pair("a", "b", 0.5, "p"), {"first": "a", "second": "b", "label": 0.5}),
    ],
)
def test_rows_have_the_names_of_the_columns(example: object, row: dict[str, object]) -> None:
    assert script.as_row(example) == row  # type: ignore[arg-type]


def test_numbers_of_numpy_and_torch_count(run: Run) -> None:
    found = run(
        "import numpy, torch\n" + returning("{'a': numpy.float32(0.5), 'b': torch.tensor(2)}")
    )
    assert found == {"script_a": 0.5, "script_b": 2.0}
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("None", "returned None: return a dict of numbers"),
        ("[0.5]", "return a dict of numbers"),
        ("{}", "return a dict of numbers"),
        ("{'a': math.nan}", "a: nan: return a finite number"),
        ("{'a': math.inf}", "a: inf: return a finite number"),
        ("{'a': '0.5'}", "a: '0.5': return a finite number"),
        ("{'a': [1, 2]}", "a: [1, 2]: return a finite number"),
        ("{'a': None}", "a: None: return a finite number"),
        ("{'a b': 1}", "the name 'a b'"),
        ("{'': 1}", "the name ''"),
        ("{5: 1}", "the name 5"),
        ("{'x' * 57: 1}", "the name a text of 57 characters"),
        ("{str(n): n for n in range(17)}", "17 numbers: return at most 16"),
    ],
)
def test_what_it_may_not_return(run: Run, expression: str, words: str) -> None:
    assert words in error_of(run, returning(expression))


def test_errors_name_file_and_line(run: Run) -> None:
    source = (
        "import json\n"
        "def first(rows):\n"
        "    return rows[0]['colour']\n"
        "def evaluate_model(model_path, test_dataset, metric_type):\n"
        "    return {'a': first(test_dataset)}\n"
    )
    assert error_of(run, source) == (
        "your evaluation script failed in eval.py, line 3: KeyError: 'colour'; correct the code"
    )
    deep = source.replace("rows[0]['colour']", "json.loads('{')")
    assert " in eval.py, line 3: JSONDecodeError: " in error_of(run, deep)


def test_errors_while_loading(run: Run) -> None:
    assert "eval.py, line 1: SyntaxError: invalid syntax" in error_of(run, "def evaluate(:\n")
    assert "eval.py, line 1: ModuleNotFoundError: No module named 'nosuch'" in (
        error_of(run, "import nosuch\n")
    )
    assert "eval.py has no evaluate_model: define it" in error_of(run, "evaluate = 5\n")
    assert "evaluate_model of eval.py can't be called" in error_of(run, "evaluate_model = 5\n")


def test_it_cannot_end_the_trainer(run: Run) -> None:
    source = "import sys\n" + returning("sys.exit(0)")
    assert "eval.py, line 4: SystemExit: 0" in error_of(run, source)


def test_being_told_to_stop_is_no_error_of_the_users(tmp_path: Path) -> None:
    """The signal's exception passes through the user's code."""

    def stop(*_: object) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        script.evaluate(stop, tmp_path / "eval.py", tmp_path, ROWS)


def test_what_it_prints_goes_to_the_log(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("print('loading')\n" + returning("print('half', end='') or {'a': 1}"))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("s ", 1)[1] for line in err.splitlines()] == [
        "evaluation script: loading",
        "evaluation script: half",
    ]


def test_it_may_define_dataclasses(run: Run) -> None:
    found = run(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Score:\n    value: float\n"
        + returning("{'a': Score(0.5).value}").replace("import math\n", "")
    )
    assert found == {"script_a": 0.5}
