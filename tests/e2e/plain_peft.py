"""Accuracy of an adapter on labelled rows, by peft and transformers alone.

usage: plain_peft.py BASE ADAPTER ROWS.jsonl TEMPLATE. The label is the template's last column;
the answer is the label whose tokens are likeliest after the prompt.
"""

import json
import re
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(base: str, adapter: str, rows_file: str, template: str) -> float:
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    head, column = re.fullmatch(r"(.*)\{(\w+)\}", template, re.DOTALL).groups()
    rows = [json.loads(line) for line in Path(rows_file).read_text().splitlines()]
    labels = sorted({row[column] for row in rows})
    right = 0
    for row in rows:
        prompt = head.format(**row)
        prefix = tokenizer(prompt.rstrip(" "), add_special_tokens=False)["input_ids"]
        gap = prompt[len(prompt.rstrip(" ")) :]
        endings = [
            tokenizer(gap + label, add_special_tokens=False)["input_ids"] for label in labels
        ]
        longest = max(map(len, endings))
        ids = torch.zeros(len(labels), len(prefix) + longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, ending in enumerate(endings):
            ids[line, : len(prefix) + len(ending)] = torch.tensor(prefix + ending)
            mask[line, : len(prefix) + len(ending)] = 1
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=longest + 1).logits
        scores = logits.log_softmax(-1)
        likelihoods = [
            sum(scores[line, i, token].item() for i, token in enumerate(ending))
            for line, ending in enumerate(endings)
        ]
        right += labels[max(range(len(labels)), key=likelihoods.__getitem__)] == row[column]
    return right / len(rows)


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(main(*sys.argv[1:]))
