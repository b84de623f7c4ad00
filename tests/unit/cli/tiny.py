"""A model and a dataset that train in seconds, made here."""

import json
from pathlib import Path

LABELS = ("animal", "plant", "tool")
_WORDS = ("a small one", "a large one", "an old one", "a thing of wood", "of the sea", "in a field")


def write_model(folder: Path) -> Path:
    """A Llama of 2 layers with random weights, and a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*_WORDS, *LABELS], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_dataset(file: Path, rows: int = 96) -> Path:
    """JSON lines with the columns text and label."""
    lines = (
        {"text": f"{_WORDS[i % len(_WORDS)]} {i}", "label": LABELS[i % len(LABELS)]}
        for i in range(rows)
    )
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


MANIFEST = """\
apiVersion: luthier.dev/v1alpha1
kind: FineTuneJob
metadata: {name: things, namespace: team-a}
spec:
  model: {uri: s3://models/tiny}
  task: classification
  dataset:
    uri: s3://datasets/things.jsonl
    template: "{text}: {label}"
    evalFraction: 0.25
    stratifyBy: label
  training:
    maxSteps: 6
    perDeviceBatchSize: 4
    maxLength: 64
    logEverySteps: 1
    saveEverySteps: 3
    precision: fp32  # what an OptimizeJob compares with
  evaluation: {metrics: [accuracy, loss]}
  output: {uri: s3://artifacts/models}
"""
