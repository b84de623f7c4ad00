"""What a merge takes of the machine's memory: a layer, not the model."""

import subprocess
import sys
from pathlib import Path

# Pages of files that are mapped count for nobody: the kernel drops them where others need room.
PROGRAM = """
import sys, threading, time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from luthier_trainer.methods.merge import merge_adapter, merging_bytes
from luthier_trainer.models.files import stored_bytes
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.heads import Head


def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def watch():
    while not done.is_set():
        seen.append(anonymous())
        time.sleep(0.002)


place = Path(sys.argv[1])
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=2000, hidden_size=640, intermediate_size=2560, num_hidden_layers=12,
    num_attention_heads=10, num_key_value_heads=5, eos_token_id=2,
)
torch.set_default_dtype(torch.bfloat16)
model = LlamaForCausalLM(config)
model.save_pretrained(place / "base")
torch.set_default_dtype(torch.float32)
model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
with torch.no_grad():
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.normal_(std=0.1)
model.save_pretrained(place / "adapter")
del model
source = BaseSource(place / "base", Head("AutoModelForCausalLM"), 32, 7)
seen, done, before = [], threading.Event(), anonymous()
watcher = threading.Thread(target=watch)
watcher.start()
merge_adapter(place / "adapter", source, place / "model")
done.set()
watcher.join()
print(max(seen) - before, merging_bytes(place / "base"), stored_bytes(place / "base"))
"""


def test_a_layer_at_a_time_is_in_memory(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    most, expected, stored = map(int, ended.stdout.split()[-3:])
    assert stored > 150e6
    assert most < 0.6 * stored
    assert most < 1.5 * expected
