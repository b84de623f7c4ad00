"""Every artifact's README asks its model a row of the run, and gets the run's answer: its program
is taken from the file as it stands, and run where there is nothing but what the README names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer import metaspace
from unit.trainer.bundle_support import order_maker as bundle_of
from unit.trainer.optimize_support import fine_tuned, order_maker
from unit.trainer.readme_programs import answers, told
from unit.trainer.support import folder_of
from unit.trainer.tiny import tiny, tiny_tokenizer_of

from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.models.heads import Head
from luthier_trainer.objectives.ends import ends_of, turn_end
from luthier_trainer.objectives.tokens import Encoder, begin_tokens, pad_token
from luthier_trainer.optimize.run import Optimization
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.onnx.build import OnnxBuilder
from luthier_trainer.packages.onnx.layout import LAYOUT
from luthier_trainer.packages.onnx.readme import readme as plain_readme
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.published import ask as asking

pytestmark = pytest.mark.timeout(1800)

WORDS: dict[str, Any] = {
    "task": "extraction",
    "dataset": {"template": None, "columns": {"prompt": "text", "completion": "label"}},
    "metrics": ["exact_match"],
    "evaluation": {"maxNewTokens": 6},
}
SHORT = {"maxSteps": 8, "saveEverySteps": 8}


def llama(folder: Path) -> Path:
    """Its begin of text comes from tokenizer.json's post-processor, and a blank before a text from
    its normaliser; onnxruntime's attention takes its heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = metaspace.prepended()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    place = tmp_path_factory.mktemp("asked")
    return fine_tuned(llama(place / "base-model"), colours, place, training=SHORT, **WORDS)


def with_base(artifact: Path, base: Path) -> Path:
    """The card's program finds the base where the card says."""
    if not (artifact / "base").exists():
        (artifact / "base").symlink_to(base)
    return artifact / "README.md"


def test_the_card_of_a_lora(lora: Path) -> None:
    row = told(lora / "adapter")
    assert row["answer"]
    assert answers(with_base(lora, lora.parent / "base-model")) == [str(row["answer"])]
    card = (lora / "README.md").read_text()
    assert repr(row["prompt"]) in card
    assert "An answer ends at `</s>` (2). Every text begins with the token 1." in card
    ends = json.loads((lora / "adapter" / "generation_config.json").read_text())
    assert ends["eos_token_id"] == 2


def test_a_package_for_genai_and_a_bundle(lora: Path, tmp_path: Path) -> None:
    """Both without transformers, and with its tokens."""
    row = told(lora / "adapter")
    order = order_maker(lora, tmp_path)(precisions=["fp32"])
    Optimization(order).execute()
    assert answers(folder_of(order) / "README.md") == [str(row["answer"])]
    base = lora.parent / "base-model"
    bundle = bundle_of(base, tmp_path)({"colours": SourceRef(uri=f"file://{lora}")})
    BundleRun(bundle).execute()
    package = folder_of(bundle)
    assert answers(package / "README.md") == [str(row["answer"])] * 2, "the loader's, and genai's"
    (part,) = json.loads((package / "index.json").read_text())["adapters"]
    assert part["ask"]["row"] == row


@pytest.mark.parametrize(
    ("name", "method", "auto_class", "spec"),
    [
        ("gpt2", {"type": "full"}, "AutoModelForCausalLM", WORDS),
        ("t5", {"type": "full"}, "AutoModelForSeq2SeqLM", WORDS),
        (
            "bert",
            {"type": "adapter"},
            "AutoModelForSequenceClassification",
            {"dataset": {"template": None, "columns": {"text": "text", "label": "label"}}},
        ),
    ],
)
def test_cards_and_plain_packages(
    name: str,
    method: dict[str, Any],
    auto_class: str,
    spec: dict[str, Any],
    colours: Path,
    tmp_path: Path,
) -> None:
    base = tiny(name, tmp_path / "base-model")
    artifact = fine_tuned(base, colours, tmp_path, method=method, training=SHORT, **spec)
    folder = artifact / ("model" if method["type"] == "full" else "adapter")
    row = told(folder)
    labels = sorted({"red", "green", "blue"})
    (said,) = answers(with_base(artifact, base))
    reads = auto_class == "AutoModelForSequenceClassification"
    expected = repr([row["answer"]]) if reads else str(row["answer"])
    assert said == expected

    ask = asking.read(folder)
    tokenizer = tiny_tokenizer_of(name)
    if reads:
        known = (artifact / "README.md").read_text().partition("labels = ")[2]
        labels = json.loads(known.partition("\n")[0].replace("'", '"'))
    source = Source(
        folder=base if reads else folder,
        head=Head(auto_class, tuple(labels) if reads else ()),
        digest="sha256:asked",
        pad_id=pad_token(tokenizer),
        bottleneck=folder if reads else None,
    )
    package = tmp_path / "package"
    OnnxBuilder(Optimizing(), Interrupt(1)).build(source, "fp32", package)
    layout = json.loads((package / LAYOUT).read_text())
    (package / "README.md").write_text(plain_readme(layout, ask))
    assert answers(package / "README.md") == [expected]


FAMILIES: dict[str, Callable[[], Any]] = {
    **metaspace.FAMILIES,
    **{name: lambda name=name: tiny_tokenizer_of(name) for name in ("llama", "qwen2", "gpt2")},
}


def appending() -> Any:
    """It puts an end behind every text; a prompt has none."""
    from tokenizers.processors import TemplateProcessing

    found = tiny_tokenizer_of("llama")
    found.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return found


@pytest.mark.parametrize("family", [*FAMILIES, "appending"])
def test_programs_make_the_tokens_that_the_run_asked_with(family: str, tmp_path: Path) -> None:
    """Of texts with blanks at odd places, special tokens within, and letters that need bytes."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    from luthier_trainer.data.examples import Completion

    appending().save_pretrained(tmp_path) if family == "appending" else FAMILIES[
        family
    ]().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path / "package")  # as the builder does
    packed = Tokenizer.from_file(str(tmp_path / "package" / "tokenizer.json"))
    texts = ["Text: w7 meadow\nColour:", " two  blanks ", "a</s>b <|user|> c", "é 你 ñ", "x\n\ny"]
    encoder = Encoder(tokenizer, 256, learn_prompt=False)
    items = encoder.encode([Completion(text, "red", "red", "x:1") for text in texts])
    begin = begin_tokens(tokenizer)
    for text, item in zip(texts, items, strict=True):
        ids = begin + packed.encode(text, add_special_tokens=False).ids
        assert ids == item.question, text


def test_every_token_that_ends_an_answer_is_named() -> None:
    tokenizer = metaspace.prepended.__wrapped__()
    assert turn_end(tokenizer) is None, "it has no chat template"
    tokenizer.chat_template = metaspace.TOKENS
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert turn_end(tokenizer) == end
    assert ends_of(tokenizer, 7, [9, 2], None) == sorted({2, 7, 9, end})
    tokenizer.chat_template = "{{ raise_exception('not so') }}"
    assert turn_end(tokenizer) is None
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} and on{% endfor %}"
    assert turn_end(tokenizer) is None, "words end no turn"
