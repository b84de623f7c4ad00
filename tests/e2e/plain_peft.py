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
        # The last token of an ending needs no logits after it, so a label of one token costs no
        # more than its prompt.
        inputs = sorted({tuple(prefix + ending[:-1]) for ending in endings})
        with torch.inference_mode():
            scores = {
                ids: model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
                for ids in inputs
            }
        likelihoods = [
            sum(
                scores[tuple(prefix + ending[:-1])][len(prefix) - 1 + i, token].item()
                for i, token in enumerate(ending)
            )
            for ending in endings
        ]
        right += labels[max(range(len(labels)), key=likelihoods.__getitem__)] == row[column]
    return right / len(rows)


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(main(*sys.argv[1:]))
