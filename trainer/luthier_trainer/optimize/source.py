"""What was fetched, as one model that stands alone: its adapter merged where it can be."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from luthier_api.result import ExitCode
from luthier_api.training import Similarity
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.log import log
from luthier_trainer.methods.merge import merge_adapter
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.heads import Head, Problem
from luthier_trainer.models.load import BaseSource, load_tokenizer
from luthier_trainer.models.vocabulary import check_vocabulary
from luthier_trainer.objectives.objective import Objective
from luthier_trainer.objectives.reading import unfitted
from luthier_trainer.objectives.tokens import pad_token
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.packages.contract import Source

# What a model's own class name tells of its end.
_ENDS = {
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
}
_WITH_LABELS = ("AutoModelForSequenceClassification", "AutoModelForTokenClassification")


def tokenizer_of(fetched: Fetched) -> Any:
    """The tokenizer that the fine-tuning used. Raises TrainerError."""
    saved = fetched.adapter
    own = saved and (saved / "tokenizer.json").exists()
    tokenizer = load_tokenizer(saved if saved and own else fetched.model)
    check_vocabulary(fetched.model, tokenizer)
    return tokenizer


def head_of(fetched: Fetched, objective: Objective | None) -> Head:
    """What the model ends in: as its task has it, else as its config.json says."""
    if objective:
        return objective.head
    config = json.loads((fetched.model / "config.json").read_bytes())
    named = str((config.get("architectures") or [""])[0])
    found = next((auto for end, auto in _ENDS.items() if named.endswith(end)), "AutoModel")
    if found == "AutoModel" and "AutoModelForCausalLM" in describe(fetched.model).auto_classes:
        found = "AutoModelForCausalLM"  # saved without its head, which is the embeddings'
    if found not in _WITH_LABELS:
        return Head(found)
    labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    problem = config.get("problem_type")
    names = tuple(labels[index] for index in sorted(labels, key=int))
    return Head(found, names, problem if problem in get_args(Problem) else None)


def pooling_of(fetched: Fetched) -> str:
    """How the fine-tuning made a text's vector of its tokens'; a model by URI doesn't say."""
    similarity = fetched.tuning.training.similarity if fetched.tuning else None
    return (similarity or Similarity()).pooling


def assemble(
    fetched: Fetched,
    head: Head,
    tokenizer: Any,
    longest: int,
    seed: int,
    folder: Path,
    *,
    apart: bool,
) -> Source:
    """One model: merged to `folder` where there is an adapter that can be. `apart`: an adapter
    of LoRA is named apart from its base too.

    Raises TrainerError: MergeMismatch, AdapterUnusable, ModelUnusable.
    """
    pad_id = pad_token(tokenizer)
    common: dict[str, Any] = {
        "head": head,
        "digest": fetched.digest,
        "pad_id": pad_id,
        "pooling": pooling_of(fetched),
        "reading": (fetched.ask and fetched.ask.reading) or unfitted(head.problem),
    }
    if fetched.adapter is None or fetched.method == "adapter":
        return Source(folder=fetched.model, bottleneck=fetched.adapter, longest=longest, **common)
    base = BaseSource(fetched.model, head, longest, seed, pad_id=pad_id)
    try:
        # Unrounded: what it loses is to be told from what the candidates lose.
        merged = merge_adapter(fetched.adapter, base, folder, torch.float32)
    except TrainerError:
        raise
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise unsupported(
            "AdapterUnusable",
            f"{fetched.uri}: the adapter can't be put on its base: {type(error).__name__}: "
            f"{str(error)[:400]}; is it one of this base?",
            "source",
        ) from error
    tokenizer.save_pretrained(folder)
    log(f"merged: logits differ by at most {merged.difference:.1e}")
    lora = apart and fetched.method in ("lora", "qlora")
    both = (fetched.model, fetched.adapter) if lora else None
    return Source(folder=folder, longest=longest, apart=both, **common)


def require_finite(outputs: Any, fetched: Fetched) -> None:
    """Raises TrainerError (SourceNotFinite): such a model is like no other, not even itself.

    `outputs`: of the source by PyTorch, a NumPy array.
    """
    if np.isfinite(outputs).all():
        return
    adapter = " or of its adapter" if fetched.adapter else ""
    raise TrainerError(
        ExitCode.DATA,
        "SourceNotFinite",
        f"{fetched.uri}: the model's outputs aren't all finite numbers: weights of it{adapter} "
        "aren't; train it again, or name another revision",
        "source",
    )
