"""A causal language model that trains in seconds: SmolLM2's tokenizer, 3 million random weights."""

import argparse
from pathlib import Path


def main(output: Path) -> None:
    """Write the model to the folder `output`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from luthier_demo import content

    known = AutoTokenizer.from_pretrained(content.model())
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(known),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            bos_token_id=known.bos_token_id,
            eos_token_id=known.eos_token_id,
        )
    )
    model.to(torch.bfloat16).save_pretrained(output)
    known.save_pretrained(output)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--output", type=Path, required=True)
    main(options.parse_args().output)
