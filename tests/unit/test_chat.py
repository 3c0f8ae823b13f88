"""Conversations as tokens: which are scored, against what transformers says of a template that marks them itself."""

import itertools

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from pliant.data.chat import ChatError, chosen_template, render, scored_tokens
from pliant.data.samples import Message, Sample, plain
from pliant.data.tokenizers import open_tokenizer

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}{% endif %}" + CHATML
)
# Llama 2's: the end of a user turn is the prompt to answer, and every turn begins anew
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content|trim + ' [/INST]\n' }}"
    "{% elif m.role == 'assistant' %}{% generation %}{{ m.content|trim + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('no system role here') }}{% endif %}{% endfor %}"
)
# the prompt to answer holds more than the answer will: common prefixes, not whole prompts, tell where it begins
THINKING = CHATML.replace("'<|im_start|>assistant\n' }}{% endif %}", "'<|im_start|>assistant\n<think>\n' }}{% endif %}")
TEMPLATES = {"chatml": CHATML, "with system": WITH_SYSTEM, "inst": INST, "thinking": THINKING}

WORDS = ["Why?", "assistant", "user\n", "Yes. é漢🙂", "  spaced  ", "im_end", "a\n\nb", "Yes. é漢🙂"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A byte-level BPE with merges over line ends and blanks, such as real ones have."""
    backend = Backend(BPE())
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False, use_regex=False), ByteDecoder()
    trainer = BpeTrainer(vocab_size=400, special_tokens=MARKS, initial_alphabet=ByteLevel.alphabet())
    backend.train_from_iterator(
        ["\n\n", "\nWhy? ", "user\nYes", "assistant\n", "Yes. Yes. ", "\nYes", "[/INST]"] * 9, trainer
    )
    place = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(place)
    return place


@pytest.fixture
def tokenizer(folder):
    return open_tokenizer(str(folder))


def conversation(*contents, system=None):
    roles = itertools.cycle(["user", "assistant"])
    messages = [Message(role=role, content=content) for content, role in zip(contents, roles, strict=False)]
    return Sample(messages=(*([Message(role="system", content=system)] if system else []), *messages))


def tokens(tokenizer, sample, **changes):
    (found,) = scored_tokens([sample], tokenizer, **({"template": None, "beginning": (), "end": True} | changes))
    return found


def text(tokenizer, ids):
    return tokenizer.backend.decode(ids)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("turns", [2, 4, 6])
def test_the_scored_tokens_are_those_that_the_template_marks(tokenizer, name, turns):
    tokenizer.backend.chat_template = TEMPLATES[name]
    for start in range(len(WORDS)):
        words = list(itertools.islice(itertools.cycle(WORDS), start, start + turns))
        for system in (None,) if name == "inst" else (None, "Be brief."):
            sample = conversation(*words, system=system)
            theirs = tokenizer.backend.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in sample.messages],
                return_assistant_tokens_mask=True,
                return_dict=True,
            )
            ours = tokens(tokenizer, sample)
            assert ours.ids.tolist() == theirs["input_ids"]
            assert ours.scored.astype(int).tolist() == theirs["assistant_masks"]


def test_an_answer_like_the_words_around_it(tokenizer):
    tokenizer.backend.chat_template = CHATML
    one = render(conversation("assistant", "assistant", "end", "end").messages, "model", tokenizer)
    assert [one.text[a:b] for a, b in one.responses] == ["assistant<|im_end|>", "end<|im_end|>"]
    assert one.text[: one.responses[0][0]].endswith("<|im_start|>assistant\n")


BARE = "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '</s>\n' }}{% endfor %}"  # no generation prompt
FORGETS = (  # thoughts are written in the last turn alone, as Qwen3 does
    "{% for m in messages %}{{ m.role + ': ' }}{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '</s>\n' }}{% endfor %}"
)


@pytest.mark.parametrize("template", [BARE, FORGETS], ids=["no generation prompt", "turns written anew"])
@pytest.mark.parametrize("answer", ["a", "s", "0", "1", "assistant", " t", "So it was."])
def test_an_answer_found_in_the_header_of_its_turn(tokenizer, template, answer):
    tokenizer.backend.chat_template = template
    one = render(conversation("a?", answer, "s?", answer).messages, "model", tokenizer)
    assert [one.text[a:b] for a, b in one.responses] == [f"{answer}</s>"] * 2
    assert all(one.text[:a].endswith(("assistant|>\n", "assistant: ", "</think>\n\n")) for a, _ in one.responses)


def test_the_default_template(tokenizer):
    sample = conversation("Why?", "So.", "And?", "Then.", system="Be brief.")
    one = tokens(tokenizer, sample, beginning=(0,))
    assert text(tokenizer, one.ids) == (
        "<s><|system|>\nBe brief.\n<|user|>\nWhy?\n<|assistant|>\nSo.</s>\n<|user|>\nAnd?\n<|assistant|>\nThen.</s>\n"
    )
    assert text(tokenizer, one.ids[one.scored]) == "So.</s>Then.</s>"
    assert one.ids[one.scored].tolist().count(1) == 2  # the end token itself, so that the model learns to stop


def test_bytes_end_a_response_with_a_blank_line():
    one = tokens(open_tokenizer("bytes"), conversation("Hé?", "Jö.", "So?", "No."))
    assert bytes(one.ids.tolist()).decode() == (
        "<|user|>\nHé?\n<|assistant|>\nJö.\n\n<|user|>\nSo?\n<|assistant|>\nNo.\n\n"
    )
    assert bytes(one.ids[one.scored].tolist()).decode() == "Jö.\n\nNo.\n\n"


def test_prompt_and_completion_are_written_as_they_are(tokenizer):
    tokenizer.backend.chat_template = CHATML
    one = tokens(tokenizer, plain("2+2=", "4"), beginning=(0,))
    assert text(tokenizer, one.ids) == "<s>2+2=4</s>"
    assert text(tokenizer, one.ids[one.scored]) == "4</s>"
    assert text(tokenizer, tokens(tokenizer, plain("2+2=", "4"), end=False).ids) == "2+2=4"
    asked = tokens(tokenizer, plain("2+2=", "4"), template="model", beginning=(0,))
    assert text(tokenizer, asked.ids) == "<|im_start|>user\n2+2=<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
    assert text(tokenizer, asked.ids[asked.scored]) == "4<|im_end|>"


def test_which_template(tokenizer):
    assert chosen_template(None, tokenizer) == "default"
    with pytest.raises(ChatError, match=r"template: model, but the tokenizer .* has no chat template; leave it out"):
        chosen_template("model", tokenizer)
    tokenizer.backend.chat_template = CHATML
    assert chosen_template(None, tokenizer) == "model"
    assert chosen_template("default", tokenizer) == "default"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (CHATML.replace("m.content + '<|im_end|>' }}{% endgen", "'<|im_end|>' }}{% endgen"), "drops the answer"),
        (CHATML.replace("{{ m.content + '<|im_end|>' }}", "{{ m.content[:3] }}"), "does not contain 'So it was.'"),
        (INST.replace("m.role == 'user'", "m.role == 'human'"), "refuses a conversation of .?user, assistant"),
        ("{% for m in messages %", "refuses a conversation"),
    ],
)
def test_templates_that_cannot_teach(tokenizer, template, complaint):
    tokenizer.backend.chat_template = template
    with pytest.raises(ChatError, match=complaint) as error:
        tokens(tokenizer, conversation("Was it?", "So it was."))
    assert "\n" not in str(error.value)
    assert "template: default" in str(error.value)


def test_the_date_stands_still(tokenizer):
    tokenizer.backend.chat_template = "{{ date_string }}" + CHATML
    one = render(conversation("a", "b").messages, "model", tokenizer)
    assert one.text.startswith("26 Jul 2024<|im_start|>")


def test_tokens_know_their_characters(tokenizer):
    words = "Yes. é漢🙂\n\nWhy?"
    for one in (tokenizer, open_tokenizer("bytes")):
        ((ids, spans),) = one.located([words])
        assert ids.tolist() == next(one.encode([words])).tolist()
        covered = {at for start, end in spans for at in range(start, end)}
        assert covered == set(range(len(words)))
        assert np.all(np.diff(spans[:, 0]) >= 0)
