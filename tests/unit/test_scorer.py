"""The scorer that shares contexts against one row a choice, over model classes, and against sums made by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from pliant.evaluation.branches import padded, row_of, tree_mask
from pliant.evaluation.rolling import bits_per_byte, document_log_probabilities, rolling_windows
from pliant.evaluation.scorer import Request, heeds_branches, longest_input, score, score_plainly

VOCABULARY, LONGEST = 50, 64
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LONGEST,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
CLASSES = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**_SHAPE, num_key_value_heads=1)),
    "olmo2": lambda: transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**_SHAPE)),
    "neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**_SHAPE)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_SHAPE, num_key_value_heads=1)),
    "gemma": lambda: transformers.GemmaForCausalLM(
        transformers.GemmaConfig(**_SHAPE, num_key_value_heads=1, head_dim=8)
    ),
    "gemma2, softcapped and sliding": lambda: transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(**_SHAPE, num_key_value_heads=1, head_dim=8, sliding_window=12)
    ),
}


def network(kind: str = "llama", attention: str | None = None) -> Any:
    torch.manual_seed(0)
    model = CLASSES[kind]().eval()
    if attention:
        model.set_attn_implementation(attention)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def requests(contexts: int = 20, longest_context: int = 70) -> list[Request]:
    """Several continuations of each context, some longer with it than the model reads."""
    random = np.random.default_rng(1)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(random.integers(VOCABULARY, size=random.integers(low, high)).tolist())

    found = []
    for _ in range(contexts):
        context = some(1, longest_context)
        found += [Request(context=context, continuation=some(1, 7)) for _ in range(random.integers(1, 5))]
    return found


def assert_equal(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    assert [s.log_probability for s in found] == pytest.approx([s.log_probability for s in expected], abs=tolerance)
    assert [s.greedy for s in found] == [s.greedy for s in expected]


@pytest.mark.parametrize("attention", [None, "eager"], ids=["default", "eager"])
@pytest.mark.parametrize("kind", CLASSES)
def test_sharing_a_context_changes_no_score(kind: str, attention: str | None):
    model, wanted = network(kind, attention), requests()
    assert heeds_branches(model)
    shared = score(model, wanted, batch_tokens=200, longest=LONGEST)
    assert_equal(shared, score_plainly(model, wanted, batch_tokens=200, longest=LONGEST))


def test_a_score_is_the_sum_of_log_softmax_at_its_tokens():
    model = network()
    context, continuation = (3, 1, 4), (1, 5)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[3, 1, 4, 1]])).logits[0].double()
    nats = logits.log_softmax(-1)
    likeliest = logits.argmax(-1)
    (found,) = score(model, [Request(context=context, continuation=continuation)], batch_tokens=9, longest=LONGEST)
    assert found.log_probability == pytest.approx(float(nats[2, 1] + nats[3, 5]), abs=1e-5)
    assert not found.greedy
    greedy = [Request(context=context, continuation=(int(likeliest[2]),))]
    assert score(model, greedy, batch_tokens=9, longest=LONGEST)[0].greedy


@pytest.mark.parametrize("batch_tokens", [1, 64, 10**5])
def test_the_batch_changes_no_score(batch_tokens: int):
    model, wanted = network(), requests(8)
    expected = score_plainly(model, wanted, batch_tokens=100, longest=LONGEST)
    assert_equal(score(model, wanted, batch_tokens=batch_tokens, longest=LONGEST), expected)


def test_a_long_context_loses_its_beginning():
    model = network()
    long = Request(context=tuple(range(40)), continuation=(7, 8))
    short = Request(context=tuple(range(33, 40)), continuation=(7, 8))
    found = [score(model, [one], batch_tokens=99, longest=8)[0] for one in (long, short)]
    assert found[0] == found[1]
    assert found[0] != score(model, [long], batch_tokens=99, longest=40)[0]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(context=(), continuation=(1,)), "at least one token each"),
        (Request(context=(1,), continuation=()), "at least one token each"),
        (Request(context=(1,), continuation=(1,) * 9), "a continuation of 9 tokens is longer than the 8"),
    ],
)
def test_what_cannot_be_scored_is_refused(request_: Request, says: str):
    with pytest.raises(ValueError, match=says):
        score(network(), [request_], batch_tokens=99, longest=8)


def test_a_class_that_does_not_heed_masks_takes_the_plain_path():
    class Deaf(torch.nn.Module):
        """A model that ignores mask and positions: its branches would see one another."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network()
            self.config, self.dtype, self.device = self.inner.config, self.inner.dtype, self.inner.device

        def get_output_embeddings(self) -> Any:
            return self.inner.get_output_embeddings()

        def forward(self, input_ids: Any, use_cache: bool, attention_mask: Any = None, position_ids: Any = None) -> Any:
            return self.inner(input_ids=input_ids, use_cache=use_cache)

    assert not heeds_branches(Deaf())
    wanted = requests(5)
    expected = score_plainly(network(), wanted, batch_tokens=200, longest=LONGEST)
    assert_equal(score(Deaf(), wanted, batch_tokens=200, longest=LONGEST), expected)


def test_scoring_leaves_no_trace():
    model = network()
    before = {name: value.clone() for name, value in model.named_parameters()}
    score(model, requests(3), batch_tokens=99, longest=LONGEST)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert not model.get_output_embeddings()._forward_pre_hooks


# rows and masks by hand


def test_a_row_by_hand():
    row = row_of((10, 11), ((1, 2, 3), (4,), (5, 6)))
    assert row.tokens == (10, 11, 1, 2, 5)
    assert row.positions == (0, 1, 2, 3, 2)
    assert row.branch == (0, 0, 1, 1, 2)
    assert row.places == ((1, 2, 3), (1,), (1, 4))
    assert row.branched
    assert not row_of((10,), ((1, 2), (3,))).branched


def test_a_mask_by_hand():
    branch = padded([(0, 0, 1, 2), (0, 1, 2)], -1)
    sees = (tree_mask(branch, torch.float32) == 0)[:, 0].int().tolist()
    assert sees[0] == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    assert sees[1][2] == [1, 0, 1, 0]
    assert [row[3] for row in sees[1]] == [0, 0, 0, 1]


# documents


def test_windows_as_in_lm_evals_example():
    windows = list(rolling_windows(tuple(range(10)), start=99, longest=4))
    assert [w.continuation for w in windows] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert [w.context for w in windows] == [(99,), (3,), (5, 6, 7)]


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 8, 9, 23])
def test_windows_are_those_of_lm_eval(length: int):
    utils = pytest.importorskip("lm_eval.utils")
    tokens = list(range(length))
    theirs = utils.get_rolling_token_windows(tokens, prefix_token=99, max_seq_len=4, context_len=1)
    expected = [tuple(map(tuple, utils.make_disjoint_window(window))) for window in theirs]
    mine = rolling_windows(tuple(tokens), start=99, longest=4)
    assert [(w.context, w.continuation) for w in mine] == expected


def test_a_document_within_the_window_is_the_models_own_loss():
    model, tokens = network(), tuple(range(30))
    ids = torch.tensor([[49, *tokens]])
    with torch.inference_mode():
        loss = model(input_ids=ids, labels=ids).loss.item()
    found = document_log_probabilities(model, [tokens, ()], start=49, batch_tokens=64, longest=LONGEST)
    assert found == pytest.approx([-30 * loss, 0.0], rel=1e-6)


def test_bits_per_byte_by_hand():
    assert bits_per_byte([-math.log(2) * 6, -math.log(2) * 2], [3, 1]) == pytest.approx(2.0)


def test_what_a_model_can_read():
    assert longest_input(network()) == LONGEST
    assert longest_input(type("M", (), {"config": type("C", (), {"n_positions": 9})()})()) == 9
