"""The tasks `glosses` and `field` out of WordNet's database files (their formats: wndb(5WN), senseidx(5WN))."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

PARTS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
_TYPES = dict(zip("12345", "nvars", strict=True))  # ss_type of a sense key -> ss_type of a synset
FIELDS = {"04": "A", "18": "H", "20": "P", "07": "Q"}  # lexicographer files: act, person, plant, attribute

GLOSS_SIZES = {"train": 4600, "validation": 512, "test": 1200}
FIELD_SIZES = {"train": 1040, "validation": 128, "test": 260}  # of each field
ROW_BYTES = 62  # prompt and answer
SHORTEST = 16  # bytes of a gloss
ALIKE = 0.6  # shared words over all words of two glosses, from which on one of them goes

_USAGE = re.compile(r"\b(?:slurs?|offensive|derogatory|disparag\w*|obscen\w*|vulgar|pejorative)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Synset:
    """A meaning. `headword` is that of its words that is seen most often in it, where this is the word's first sense.

    `headword` is "" where the sense index counts no occurrence of such a word.
    """

    part: str
    field: str
    words: tuple[str, ...]
    headword: str
    gloss: str


def synsets(data: Iterable[bytes], index: bytes) -> list[Synset]:
    """Every synset of `data` (data.noun, ...) whose gloss is plain, in the order of its hash."""
    first = _first_senses(index)
    found = (_synset(line, first) for file in data for line in file.decode().splitlines() if line[0] != " ")
    plain = (synset for synset in found if _plain(synset.gloss))
    return sorted(plain, key=lambda synset: hashlib.sha256(f"{synset.gloss} {synset.words}".encode()).hexdigest())


def _first_senses(index: bytes) -> Mapping[tuple[str, str, str], int]:
    """(ss_type, offset, lemma) of each word's first sense as a part of speech -> how often it is seen in it."""
    counts = {}
    for line in index.decode().splitlines():
        key, offset, number, count = line.split()
        lemma, _, fields = key.partition("%")
        if number == "1":
            counts[_TYPES[fields[0]], offset, lemma] = int(count)
    return counts


def _synset(line: str, first: Mapping[tuple[str, str, str], int]) -> Synset:
    head, _, gloss = line.partition(" | ")
    offset, field, kind, count, *rest = head.split()
    words = [word.partition("(")[0] for word in rest[: 2 * int(count, 16) : 2]]  # without the marker of "asleep(p)"
    seen = {word: first.get((kind, offset, word.lower()), 0) for word in words}
    headword = max(words, key=lambda word: seen[word])
    return Synset(
        part=PARTS[kind],
        field=field,
        words=tuple(word.lower() for word in words),
        headword=headword.replace("_", " ") if seen[headword] else "",
        gloss=re.split(r"[;:]", gloss)[0].strip(),
    )


def _plain(gloss: str) -> bool:
    """Nothing cut off or quoted, and not of a word that is an insult."""
    return gloss.count("(") == gloss.count(")") and '"' not in gloss and not _USAGE.search(gloss)


def distinct(found: Iterable[Synset]) -> Iterator[Synset]:
    """The synsets that share no word with an earlier one and whose gloss is not like an earlier one's.

    Two glosses are alike from |A and B| / |A or B| = `ALIKE` on, A and B their sets of words.
    """
    taken: set[str] = set()
    glosses: list[int] = []
    holders: dict[str, list[int]] = defaultdict(list)
    for synset in found:
        words = set(_WORD.findall(synset.gloss.lower()))
        shared = Counter(holder for word in words for holder in holders[word])
        alike = any(both >= ALIKE * (len(words) + glosses[other] - both) for other, both in shared.items())
        if taken.isdisjoint(synset.words) and not alike:
            taken.update(synset.words)
            for word in words:
                holders[word].append(len(glosses))
            glosses.append(len(words))
            yield synset


def gloss_rows(found: Iterable[Synset]) -> list[dict[str, str]]:
    """`bark (noun): ` -> what it means in its first sense."""
    rows = {
        f"{synset.headword} ({synset.part}): ": f"{synset.gloss}."
        for synset in distinct(synset for synset in found if _is_entry(synset))
    }
    print(f"glosses: {sum(GLOSS_SIZES.values())} of {len(rows)} entries")
    return _divided(list(rows.items()), GLOSS_SIZES)


def _is_entry(synset: Synset) -> bool:
    size = len(f"{synset.headword} ({synset.part}): {synset.gloss}.".encode())
    return bool(synset.headword) and len(synset.gloss) >= SHORTEST and size <= ROW_BYTES


def field_rows(found: Sequence[Synset]) -> list[dict[str, str]]:
    """A gloss -> the field its meaning is from, as many rows of each."""
    fits = [s for s in found if s.field in FIELDS and SHORTEST <= len(s.gloss.encode()) <= ROW_BYTES - 2]
    kept = list(distinct(fits))
    rows = []
    for field, label in FIELDS.items():
        own = [(f"{synset.gloss}\n", label) for synset in kept if synset.field == field]
        print(f"field {label}: {sum(FIELD_SIZES.values())} of {len(own)} glosses")
        rows += _divided(own, FIELD_SIZES)
    return rows


def _divided(pairs: Sequence[tuple[str, str]], sizes: Mapping[str, int]) -> list[dict[str, str]]:
    names = [split for split, size in sizes.items() for _ in range(size)]
    return [
        {"split": split, "prompt": prompt, "answer": answer}
        for split, (prompt, answer) in zip(names, pairs[: len(names)], strict=True)
    ]
