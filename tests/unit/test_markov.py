"""The Markov language: its samples follow its table, its floor is the entropy of its samples, its relatives relate."""

import itertools
import math

import numpy as np
import pytest

from pliant.data.markov import CHUNK, CLASSES, VOCABULARY, MarkovLanguage, MarkovWindows

RELATIVES = ["base", "sibling", "skip"]


@pytest.fixture(scope="module")
def languages():
    return {relative: MarkovLanguage(3, relative) for relative in RELATIVES}


@pytest.fixture(scope="module")
def samples(languages):
    return {name: language.sample(20_000, 33, np.random.default_rng(0)) for name, language in languages.items()}


def source(language, **changes):
    return MarkovWindows(**({"language": language, "stream": "train", "seed": 0, "context": 8} | changes))


def plain_chain(language, chains, steps):
    """The chain by inverse cumulative sums from an arbitrary start: slow, and without the code under test."""
    generator = np.random.default_rng(1)
    cumulative = np.cumsum(language.next_token, axis=-1)
    back = 3 if language.relative == "skip" else 2
    tokens = [generator.integers(VOCABULARY, size=chains) for _ in range(3)]
    for _ in range(steps):
        rows = cumulative[language.classes[tokens[-back]], tokens[-1]]
        tokens.append(np.minimum((rows < generator.random(chains)[:, None]).sum(axis=1), VOCABULARY - 1))
    return np.array(tokens)


def surprises(language, windows):
    """-ln p of tokens 1, 2, ... of each window, given all before them in the window."""
    triples = language.stationary
    pairs, single = triples.sum(axis=0), triples.sum(axis=(0, 1))
    back = 3 if language.relative == "skip" else 2
    found = [-np.log(pairs[windows[:, 0], windows[:, 1]] / single[windows[:, 0]])]
    found.append(-np.log(triples[tuple(windows[:, :3].T)] / pairs[windows[:, 0], windows[:, 1]]))
    for t in range(3, windows.shape[1]):
        state = language.classes[windows[:, t - back]], windows[:, t - 1]
        found.append(-np.log(language.next_token[(*state, windows[:, t])]))
    return np.array(found).T


# the table


@pytest.mark.parametrize("relative", RELATIVES)
def test_the_table_is_made_of_its_three_parts(languages, relative):
    table = languages[relative].next_token
    assert table.shape == (CLASSES, VOCABULARY, VOCABULARY)
    np.testing.assert_allclose(table.sum(axis=-1), 1, rtol=1e-12)
    common = table.min(axis=0)  # what all classes have for a pair (b, next): .35 T1 + .10 u
    pairs = table - common  # four successors, weights ~ 1 / j^1.5
    weights = 1 / np.arange(1, 5) ** 1.5
    expected = 0.55 * weights / weights.sum()
    found = np.sort(pairs, axis=-1)[..., :-5:-1]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape))
    assert ((pairs > 1e-12).sum(axis=-1) == 4).all()
    zipf = 1 / (np.arange(VOCABULARY) + 2)
    frequency = np.empty(VOCABULARY)  # .10 u, with u ~ 1 / (rank + 2)
    frequency[np.argsort(-common.min(axis=0))] = 0.1 * zipf / zipf.sum()
    one_back = np.sort(common - frequency, axis=-1)[:, ::-1]  # sixteen successors, weights ~ 1 / j
    harmonic = 1 / np.arange(1, 17)
    np.testing.assert_allclose(one_back[:, :16], np.tile(0.35 * harmonic / harmonic.sum(), (VOCABULARY, 1)), rtol=1e-9)
    np.testing.assert_allclose(one_back[:, 16:], 0, atol=1e-15)


def test_classes_are_equally_large(languages):
    assert np.bincount(languages["base"].classes).tolist() == [VOCABULARY // CLASSES] * CLASSES


def test_skip_shares_the_tables_and_sibling_all_but_the_pairs(languages):
    base, sibling, skip = (languages[name] for name in RELATIVES)
    np.testing.assert_array_equal(base.next_token, skip.next_token)
    np.testing.assert_array_equal(base.classes, skip.classes)
    np.testing.assert_array_equal(base.classes, sibling.classes)
    shared, other = base.next_token.min(axis=0), sibling.next_token.min(axis=0)
    np.testing.assert_allclose(shared, other, rtol=1e-12)
    changed = ((base.next_token - shared > 1e-12) != (sibling.next_token - other > 1e-12)).any(axis=-1)
    assert changed.mean() > 0.9


def test_seeds_and_relatives_have_fingerprints_of_their_own():
    found = {MarkovLanguage(seed, relative).fingerprint for seed in (0, 1) for relative in RELATIVES}
    assert len(found) == 6
    assert MarkovLanguage(0).fingerprint == MarkovLanguage(0, "base").fingerprint


# the stationary distribution and the floor


@pytest.mark.parametrize("relative", RELATIVES)
def test_the_stationary_distribution_is_where_a_plain_chain_ends(languages, relative):
    language = languages[relative]
    chains = 40_000
    end = plain_chain(language, chains, 40)[-3:]
    assert language.stationary.sum() == pytest.approx(1, abs=1e-12)
    for axes, found in (((0, 1), end[2]), ((0, 2), end[1]), ((1, 2), end[0])):
        expected = language.stationary.sum(axis=axes) * chains
        z = (np.bincount(found, minlength=VOCABULARY) - expected) / np.sqrt(expected)
        assert np.abs(z).max() < 4.5
    pairs = language.stationary.sum(axis=0).ravel() * chains
    counts = np.bincount(end[1] * VOCABULARY + end[2], minlength=VOCABULARY**2)
    often = pairs > 10
    assert often.sum() > 300
    assert np.abs((counts - pairs)[often] / np.sqrt(pairs[often])).max() < 5


@pytest.mark.parametrize("relative", RELATIVES)
@pytest.mark.parametrize("context", [1, 2, 3, 32])
def test_the_floor_is_the_entropy_of_samples(languages, samples, relative, context):
    language = languages[relative]
    losses = surprises(language, samples[relative])[:, :context].mean(axis=1)
    standard_error = losses.std(ddof=1) / math.sqrt(len(losses))
    assert standard_error < 0.012
    assert abs(losses.mean() - language.floor(context)) / standard_error < 4.5


@pytest.mark.parametrize("relative", RELATIVES)
def test_the_entropy_rate_is_that_of_a_plain_chain(languages, relative):
    language = languages[relative]
    rate = 200 * language.floor(200) - 199 * language.floor(199)
    chain = plain_chain(language, 3000, 60)[-33:].T
    losses = surprises(language, chain)[:, 3:].mean(axis=1)
    assert abs(losses.mean() - rate) / (losses.std(ddof=1) / math.sqrt(len(losses))) < 4.5


@pytest.mark.parametrize("relative", RELATIVES)
def test_more_context_never_raises_the_floor(languages, relative):
    floors = [languages[relative].floor(context) for context in (1, 2, 3, 4, 8, 32, 128)]
    assert all(after < before for before, after in itertools.pairwise(floors))
    assert 1.5 < floors[-1] < floors[0] < math.log(VOCABULARY)


# samples


@pytest.mark.parametrize("relative", RELATIVES)
@pytest.mark.parametrize("positions", [range(3, 6), range(28, 33)], ids=["start", "end"])
def test_samples_follow_the_table(languages, samples, relative, positions):
    language, windows = languages[relative], samples[relative]
    back = 3 if relative == "skip" else 2
    counts = np.zeros(language.next_token.shape)
    for t in positions:
        np.add.at(counts, (language.classes[windows[:, t - back]], windows[:, t - 1], windows[:, t]), 1)
    expected = counts.sum(axis=-1, keepdims=True) * language.next_token
    used = expected > 1
    chi_squared = ((counts - expected)[used] ** 2 / expected[used]).sum()
    assert used.sum() > 5000
    # Cells are close to Poisson with mean m: each term has mean near 1 and variance 2 + 1/m.
    spread = math.sqrt((2 + 1 / expected[used]).sum())
    mean = (1 - language.next_token[used]).sum()
    assert abs(chi_squared - mean) / spread < 4.5


def test_windows_begin_in_the_stationary_distribution(languages, samples):
    for relative, windows in samples.items():
        expected = languages[relative].stationary.sum(axis=(1, 2)) * len(windows)
        for position in (0, 1, 2, 32):
            z = (np.bincount(windows[:, position], minlength=VOCABULARY) - expected) / np.sqrt(expected)
            assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_short_windows(languages, length):
    windows = languages["base"].sample(5, length, np.random.default_rng(0))
    assert windows.shape == (5, length)


# endless windows


def test_windows_do_not_depend_on_how_they_are_asked_for(languages):
    windows = source(languages["base"])
    across = windows.windows(CHUNK - 5, 2 * CHUNK + 5)
    assert across.shape == (CHUNK + 10, 9)
    np.testing.assert_array_equal(across[:5], windows.windows(CHUNK - 5, CHUNK))
    np.testing.assert_array_equal(across[5:-5], windows.windows(CHUNK, 2 * CHUNK))
    np.testing.assert_array_equal(across[-5:], windows.windows(2 * CHUNK, 2 * CHUNK + 5))
    np.testing.assert_array_equal(across[3:9], windows.windows(CHUNK - 2, CHUNK + 4))


def test_the_same_windows_every_time(languages):
    first = source(languages["base"]).windows(10, 20).copy()
    source(languages["base"], seed=5).windows(0, 10)
    np.testing.assert_array_equal(source(languages["base"]).windows(10, 20), first)
    np.testing.assert_array_equal(source(MarkovLanguage(3)).windows(10, 20), first)


def test_streams_seeds_and_chunks_are_independent(languages):
    language = languages["base"]
    parts = [
        source(language).windows(0, 500),
        source(language).windows(CHUNK, CHUNK + 500),
        source(language, stream="held-out").windows(0, 500),
        source(language, seed=1).windows(0, 500),
        source(MarkovLanguage(4)).windows(0, 500),
    ]
    rows = {tuple(row) for part in parts for row in part.tolist()}
    assert len(rows) > 2490
    assert len({source(language, stream=s, seed=i).fingerprint for s in ("train", "held-out") for i in (0, 1)}) == 4
    assert source(language).windows_per_epoch is None
