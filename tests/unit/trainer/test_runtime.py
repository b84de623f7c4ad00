"""CPU limits, CPU flags, and the event files of TensorBoard."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier_trainer.machine.runtime import (
    allocator,
    cpu_has_fast_bf16,
    cpu_limit,
    hide_unused_packages,
    threads,
)
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.tensorboard import event_file

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ALL),
        ({"cpu.max": "max 100000"}, ALL),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "99900000 100000"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_cpu_limit(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert cpu_limit(tmp_path) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"), [("3", 3), ("1", 1), ("", ALL), ("0", ALL), ("many", ALL), (None, ALL)]
)
def test_threads_are_those_of_the_environment(
    wanted: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert threads() == expected


# Large tensors that stay, each made while another one of its size is there.
HOLES = """
import torch
from luthier_trainer.machine.runtime import resident_bytes
before, kept = resident_bytes(), []
for _ in range(40):
    passing = torch.ones(1 << 20)
    kept += [torch.ones(8) for _ in range(20)]
    kept.append(torch.ones(1 << 20))
    del passing
print((resident_bytes() - before) / (40 * 4 * (1 << 20)))
"""


def test_memory_that_was_freed_is_used_again(tmp_path: Path) -> None:
    """With glibc before 2.38 it takes twice what is kept."""
    restart = f"restart_with_settings({str(tmp_path)!r})"
    code = f"from luthier_trainer.machine.runtime import *\n{restart}\n{HOLES}"
    script = tmp_path / "holes.py"
    script.write_text(code)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 1.2


def test_the_allocator_is_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert "MALLOC_TRIM_THRESHOLD_" in allocator(tmp_path)
    library = tmp_path / "lib" / "aarch64-linux-gnu" / "libtcmalloc_minimal.so.4"
    library.parent.mkdir(parents=True)
    library.touch()
    assert allocator(tmp_path)["LD_PRELOAD"] == str(library)
    monkeypatch.setenv("LD_PRELOAD", "/opt/libtheirs.so")
    assert "MALLOC_TRIM_THRESHOLD_" in allocator(tmp_path)
    assert "LD_PRELOAD" not in allocator(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    assert allocator(tmp_path) == {}, "or it would be started once more"


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "fpu avx512_bf16 sse", True),
        ("AuthenticAMD", "fpu avx512f avx2", False),
        ("GenuineIntel", "fpu avx512_bf16 sse", False),
        ("GenuineIntel", "avx512_bf16 amx_bf16", True),
    ],
)
def test_fast_bf16(vendor: str, flags: str, expected: bool) -> None:
    cpuinfo = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t:\n"
    assert cpu_has_fast_bf16(cpuinfo) is expected


@pytest.mark.usefixtures("nothing_hidden")
def test_tensorboard_reads_our_event_files(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = Journal()
    journal.add(1, {"loss": 2.5, "seconds": 1.0})
    journal.add(300, {"loss": 1.25, "seconds": 2.0})
    journal.add(300, {"eval_loss": 1.5, "seconds": 2.5})
    (tmp_path / "events.out.tfevents.0.luthier").write_bytes(event_file(journal, 1000.0))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == ["eval/loss", "train/loss"]
    assert [(e.wall_time, e.step, e.value) for e in events.Scalars("train/loss")] == [
        (1001.0, 1, 2.5),
        (1002.0, 300, 1.25),
    ]


def loaded(code: str) -> set[str]:
    """Top-level packages that a process has imported after `code`."""
    program = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_the_start_imports_nothing_slow() -> None:
    """An import budget by names: a time would depend on the machine."""
    slow = {"torch", "transformers", "peft", "accelerate", "pyarrow", "pandas", "boto3"}
    assert not slow & loaded("import luthier_trainer.main")


def test_training_imports_only_what_it_needs() -> None:
    code = (
        "from luthier_trainer.machine.runtime import hide_unused_packages\n"
        "hide_unused_packages()\n"
        "import luthier_trainer.finetune.finetune, luthier_trainer.training.loop, peft"
    )
    # Those that were hidden are in sys.modules by name: what counts is what they bring.
    needless = {"pyarrow", "matplotlib", "sacrebleu", "rouge_score", "nltk", "lxml"}
    found = loaded(code)
    assert not needless & found
    assert {"torch", "transformers", "peft"} <= found


@pytest.mark.parametrize("imported", [True, False])
def test_nothing_is_hidden_from_a_transformers_that_has_looked(
    imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's loss or evaluation may have imported it first."""
    modules = {"transformers": sys} if imported else {}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "modules", modules)
        hide_unused_packages()
    assert ("sklearn" in modules) is not imported
