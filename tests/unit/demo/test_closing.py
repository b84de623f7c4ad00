"""The tables at the end of the demo."""

import io

import pytest
from rich.console import Console
from unit.cli.statuses import complete, optimized

from luthier_demo import report
from luthier_demo.answers import Question, Score
from luthier_demo.closing import Closing, closing

LONG = "export PATH=/somewhere/very/long/.venv/bin:/usr/local/bin:$PATH KUBECONFIG=/var/lib/it.yaml"


def shown(width: int) -> list[str]:
    body = optimized()
    body["spec"]["benchmark"] = {"promptTokens": [64], "newTokens": 32, "repeats": 3}
    labels = {"things": ("animal", "plant", "act", "body"), "classes": ("noun", "verb")}
    found = Closing(
        optimized=body,
        tuned=complete(),
        tasks={
            name: [Question("Definition: …", label) for label in labels[name]] for name in labels
        },
        scores=[
            Score("things", "things", 3, 4),
            Score("things", "classes", 0, 4),
            Score("things", None, 1, 4),
            Score("classes", "things", 0, 2),
            Score("classes", "classes", 2, 2),
            Score("classes", None, 0, 2),
        ],
        files=[("Fine-tuned", "out/demo/things/report/index.html\nout/demo/classes")],
        next_commands=[LONG],
    )
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(closing(found), crop=False)
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_every_figure_is_told(width: int) -> None:
    lines = [" ".join(line.split()) for line in shown(width)]
    for words in (
        "PyTorch against ONNX int8, of team-a/tone",
        "PyTorch ONNX int8 Change (95% interval)",
        "Size 513.2 MiB 247.1 MiB 0.48 ×",
        "Perplexity 129.600 129.800 +0.2%",
        "Accuracy 0.870 0.860 −0.010 (−0.030 to +0.005)",
        "Tokens/s 17 113 6.6 ×",
        "First token 310 ms 45.1 ms 0.15 ×",
        "Memory 1.1 GiB 500.0 MiB 0.44 ×",
        "things 0.75 3/4 0.00 0/4 0.25 1/4 0.25",
        "classes 1.00 2/2 0.00 0/2 0.00 0/2 0.50",
        "Fine-tuned out/demo/things/report/index.html",
        LONG,
    ):
        assert words in lines, "\n".join(lines)
    told = " ".join(lines)
    assert "300 rows of test" in told
    assert "64 tokens read, 32 written, median of 3" in told


@pytest.mark.parametrize("width", [80, 120])
def test_only_commands_are_wider_than_the_terminal(width: int) -> None:
    assert [line for line in shown(width) if len(line.rstrip()) > width] in ([], [f"  {LONG}"])


def test_an_unknown_interval_is_left_out() -> None:
    body = optimized()
    for end in ("metricLow", "metricHigh"):
        del body["status"]["candidates"][0][end]
    console = Console(width=80, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(report.brief(body))
    assert captured.get() == "✔ team-a/tone-fast: Complete after 1m 23s\n"
