"""What a run tells of its tokens: how many are learnt, what is lost, what spoils a question."""

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from unit.trainer.objectives_support import CHATS, tokenizer_of
from unit.trainer.tiny import tiny_folder

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Completion
from luthier_trainer.finetune.inspection import inspect
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.specials import special_token_warnings
from luthier_trainer.objectives.tokens import Encoder


def test_what_is_learnt_of_the_tokens_is_told() -> None:
    """And how many turns conversations lose."""
    tokenizer = tokenizer_of("qwen2")
    for learn_all, share in ((False, None), (True, 1)):
        objective = Causal(tokenizer, ChatEncoder(tokenizer, 256, learn_all), 256)
        items = objective.encode(CHATS)
        found = inspect(objective, items)
        counted = sum(target != -100 for item in items for target in item.targets[1:])
        assert found.learnt == counted
        assert found.kept == sum(map(len, items))
        percent = round(100 * counted / found.kept, 2)
        assert found.complete(DatasetFacts()).tokens_learnt_percent == percent
        assert found.sentences == [
            f"of the rows' {found.kept:,} tokens the loss counts {counted:,} ({percent}%)"
        ]
        assert share is None or counted == found.kept - len(items)
    short = Causal(tokenizer, ChatEncoder(tokenizer, 30, False), 30)
    lost = inspect(short, short.encode(CHATS))
    assert lost.sentences[1:] == [
        f"{lost.chats_cut} conversations are too long and lose {lost.turns_cut} turns, the oldest "
        "first"
    ]
    assert 0 < lost.chats_cut < lost.turns_cut


def test_tokens_around_every_text_are_told() -> None:
    """Those that spoil what a model is asked."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("llama"))
    objective = Causal(tokenizer, ChatEncoder(tokenizer, 256, False), 256)
    assert special_token_warnings(objective, tokenizer) == []
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")]
    post = TemplateProcessing(single="<s> <s> $A </s>", pair="$A $B", special_tokens=ids)
    tokenizer.backend_tokenizer.post_processor = post
    end, begin = special_token_warnings(objective, tokenizer)
    assert "its end token '</s>' behind every text" in end
    assert "add_special_tokens=False" in end
    assert "its begin token '<s>' before every text twice" in begin
    [item] = Encoder(tokenizer, 64, False).encode([Completion("a", "b", "b", "x:1")])
    assert list(item.prompt).count(tokenizer.bos_token_id) == 1
    assert tokenizer.eos_token_id not in item.prompt
    assert special_token_warnings(object(), tokenizer) == []
