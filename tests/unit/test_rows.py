"""Examples in rows: what is cut where they are too long, and packing that loses and mixes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.data.chat import Scored
from pliant.data.rows import fitted, one_a_row, packed
from pliant.data.tasks import IGNORED


def example(written):
    """Lower case is asked, upper case is scored; the token of a letter is its code."""
    ids = np.array([ord(letter) for letter in written], dtype=np.int64)
    return Scored(ids=ids, scored=np.array([letter.isupper() for letter in written]))


def shown(one):
    """(what is read, what is predicted, with dots where nothing is scored)."""
    targets = "".join("." if token == IGNORED else chr(token) for token in one.targets)
    return "".join(map(chr, one.inputs)), targets, one.lost


@pytest.mark.parametrize(
    ("written", "context", "beginning", "expected"),
    [
        ("abCD", 3, "", ("abC", ".CD", None)),
        ("abCD", 9, "", ("abC", ".CD", None)),
        ("abCDe", 3, "", ("abC", ".CD", None)),  # nothing after the last response is learned
        ("abcdeFG", 4, "", ("cdeF", "..FG", "prompt")),
        ("aBcdEF", 3, "", ("cdE", ".EF", "prompt")),  # an earlier turn goes first
        ("aBCdEF", 4, "", ("BCdE", "C.EF", "prompt")),
        ("abCDEFG", 3, "", ("bCD", "CDE", "response")),  # one token of the prompt is left
        ("abCDE", 3, "", ("bCD", "CDE", "prompt")),
        ("ABCDE", 3, "", ("ABC", "BCD", "response")),  # the first of all is never predicted
        ("^abcdEF", 4, "^", ("^cdE", "..EF", "prompt")),
        ("^abCDEF", 4, "^", ("^CDE", "CDEF", "prompt")),
        ("^abCDEFGH", 4, "^", ("^bCD", ".CDE", "response")),
        ("^ABCDEFGH", 4, "^", ("^ABC", "ABCD", "response")),
    ],
)
def test_what_is_cut(written, context, beginning, expected):
    assert shown(fitted(example(written), context, tuple(map(ord, beginning)))) == expected


def some(lengths):
    """Examples with tokens that occur once in all of them, one token of prompt each."""
    starts = np.cumsum([0, *lengths]) + 1000
    return [
        Scored(ids=np.arange(start, start + length), scored=np.arange(length) > 0)
        for start, length in zip(starts, lengths, strict=False)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 13), min_size=1, max_size=30), st.integers(12, 20))
def test_packing_loses_no_token_and_crosses_no_segment(lengths, context):
    examples = some(lengths)
    split = packed([fitted(one, context, ()) for one in examples], context)
    assert split.segments is not None
    found = []
    for inputs, targets, segments in zip(split.inputs, split.targets, split.segments, strict=True):
        assert segments[0] == 0
        assert set(np.diff(segments)) <= {0, 1}
        for segment in np.unique(segments):
            here = segments == segment
            if (targets[here] == IGNORED).all():  # padding
                assert not inputs[here].any()
                assert segment == segments[-1]
                continue
            np.testing.assert_array_equal(inputs[here][1:], targets[here][:-1])  # each predicts its own next token
            found.append(np.append(inputs[here], targets[here][-1]).tolist())
    assert sorted(found) == sorted(one.ids.tolist() for one in examples)
    assert len(split) <= len(one_a_row([fitted(one, context, ()) for one in examples], context))


def test_first_fit_in_the_order_given():
    split = packed([fitted(one, 10, ()) for one in some([7, 8, 4, 5, 3])], 10)  # 6, 7, 3, 4, 2 predictions
    assert split.segments is not None
    assert split.segments.tolist() == [
        [0] * 6 + [1] * 3 + [2],
        [0] * 7 + [1] * 2 + [2],
        [0] * 4 + [1] * 6,
    ]
    assert split.inputs[2].tolist() == [*range(1019, 1023), *[0] * 6]


def test_a_full_row_has_no_padding():
    split = packed([fitted(one, 6, ()) for one in some([4, 4])], 6)
    assert split.segments is not None
    assert split.segments.tolist() == [[0, 0, 0, 1, 1, 1]]


def test_one_a_row():
    split = one_a_row([fitted(example("abCD"), 5, ()), fitted(example("xY"), 5, ())], 5)
    assert split.segments is None
    assert split.inputs.tolist() == [[97, 98, 67, 0, 0], [120, 0, 0, 0, 0]]
    assert split.targets.tolist() == [[IGNORED, 67, 68, IGNORED, IGNORED], [89, *[IGNORED] * 4]]
