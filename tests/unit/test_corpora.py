"""The shipped corpus holds what it promises; local text is divided by content and refused in plain words."""

import gzip
import hashlib
import json
import re
from collections import Counter
from importlib import resources

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pliant.data.corpora import SPLITS, open_corpus, split_of
from pliant.data.text_files import PASSAGE_CHARACTERS, TextFiles, text_files, texts_of

SHINGLE = 13


def shingles(text):
    keys = re.sub(r"[^a-z0-9 ]", "", re.sub(r"[\s-]+", " ", text.lower())).split()
    return map(tuple, zip(*(keys[start:] for start in range(SHINGLE)), strict=False))


@pytest.fixture(scope="module")
def english():
    return open_corpus("english")


def texts(corpus, split):
    return [document.text for document in corpus.documents(split)]


def test_english_sizes(english):
    sizes = {split: sum(len(text.encode()) for text in texts(english, split)) for split in SPLITS}
    assert sum(sizes.values()) >= 15_000_000
    assert sizes["train"] / sum(sizes.values()) == pytest.approx(0.92, abs=0.01)
    assert sizes["validation"] == pytest.approx(sizes["test"], rel=0.05)
    asset = resources.files("pliant.data").joinpath("assets", "english.jsonl.xz")
    assert len(asset.read_bytes()) <= 4_500_000


def test_english_is_what_earlier_records_were_made_on(english):
    assert english.fingerprint == "sha256:49c7879756bcf3a0a835599f9c9c25505245d5b162afe34906b47c375ba7d484"


def test_splits_share_no_run_of_thirteen_words(english):
    owner = {}
    for split in ("test", "validation"):
        own = {shingle for text in texts(english, split) for shingle in shingles(text)}
        assert len(own) > 50_000
        assert not owner.keys() & own
        owner |= dict.fromkeys(own, split)
    shared = Counter(owner[run] for text in texts(english, "train") for run in shingles(text) if run in owner)
    assert shared == Counter()


def test_shingles_ignore_case_and_punctuation():
    words = "One two three; four FIVE six--seven eight nine ten 'eleven' twelve thirteen."
    assert list(shingles(words)) == list(shingles(re.sub("[^a-z]+", " ", words.lower())))
    assert len(list(shingles(words))) == 1


def test_every_split_mixes_the_sources(english):
    for split in SPLITS:
        sizes = Counter()
        for document in english.documents(split):
            sizes[document.source] += len(document.text)
        share = {source: size / sizes.total() for source, size in sizes.items()}
        assert share["State of the Union"] == pytest.approx(0.67, abs=0.03)
        assert share["Moby-Dick"] == pytest.approx(0.07, abs=0.02)
        assert share["King James Bible"] == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    "parallel",
    [
        ("2 Samuel 22", "Psalms 18"),
        ("2 Kings 19", "Isaiah 37"),
        ("1 Chronicles 17", "2 Samuel 7"),
        ("Exodus 20", "Deuteronomy 5"),
        ("Matthew 13", "Mark 4", "Luke 8"),
        ("Ephesians 5", "Colossians 3"),
        ("2 Peter 2", "Jude 1"),
    ],
)
def test_parallel_texts_lie_in_one_split(english, parallel):
    split = {document.title: document.split for document in english.read()}
    # A text outside the corpus was set aside for the task `book`, then with all its parallels.
    assert len({split.get(f"King James Bible, {chapter}") for chapter in parallel}) == 1


def test_messages_of_one_year_lie_in_one_split(english):
    years = {}
    for document in english.read():
        if document.source == "State of the Union":
            years.setdefault(document.year, set()).add(document.split)
    assert len(years) > 200
    assert all(len(splits) == 1 for splits in years.values())


def test_english_is_plain_text(english):
    for document in english.read():
        assert not re.search(r"&\w+;|  |\t|\r|\n{3}|[“”’—]|\[(?i:laughter|applause)\]", document.text)
        assert document.text == document.text.strip()


# Local text.


def write_jsonl(path, documents):
    path.write_text("".join(json.dumps({"text": text, "id": 7}) + "\n" for text in documents), encoding="utf-8")


@pytest.fixture
def sentences():
    return [f"This is document {number} of a few, and it is told in the past." for number in range(400)]


def test_jsonl_documents_keep_their_text_and_order(tmp_path, sentences):
    write_jsonl(tmp_path / "a.jsonl", sentences)
    corpus = open_corpus(tmp_path / "a.jsonl")
    assert [document.text for document in corpus.read()] == sentences
    assert [document.text for document in corpus.read()] == sentences
    counts = [len(texts(corpus, split)) for split in SPLITS]
    assert sum(counts) == 400
    assert 350 <= counts[0] <= 385


def test_split_follows_from_a_hash_of_the_text():
    text = "naïve"
    percent = int(hashlib.sha256(text.encode("utf-8")).hexdigest()[:16], 16) % 100
    assert split_of(text) == ("train" if percent < 92 else "validation" if percent < 96 else "test")


def test_adding_a_file_moves_no_document(tmp_path, sentences):
    write_jsonl(tmp_path / "b.jsonl", sentences)
    before = open_corpus(tmp_path)
    (tmp_path / "deep").mkdir()
    write_jsonl(tmp_path / "deep" / "more.jsonl", [*sentences[:9], "Another."])
    after = open_corpus(tmp_path)
    assert after.fingerprint != before.fingerprint
    for split in SPLITS:
        assert set(texts(before, split)) <= set(texts(after, split))
        others = {text for other in SPLITS if other != split for text in texts(after, other)}
        assert not set(texts(after, split)) & others


def test_fingerprint_follows_content_not_place(tmp_path, sentences):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "a.jsonl", sentences)
    assert open_corpus(tmp_path / "one").fingerprint == open_corpus(tmp_path / "two").fingerprint
    write_jsonl(tmp_path / "two" / "a.jsonl", [*sentences[:-1], sentences[-1].upper()])
    assert open_corpus(tmp_path / "one").fingerprint != open_corpus(tmp_path / "two").fingerprint


def test_text_is_cut_at_paragraphs_and_nothing_is_lost(tmp_path, sentences):
    paragraphs = [" ".join(sentences[number % 390 : number % 390 + 9]) + f" [{number}]" for number in range(2500)]
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(paragraphs).encode())
    passages = [document.text for document in open_corpus(path).read()]
    assert "\n\n".join(passages) == "\n\n".join(paragraphs)
    sizes = [len(passage) for passage in passages[:-1]]
    assert min(sizes) > PASSAGE_CHARACTERS / 2
    assert max(sizes) <= PASSAGE_CHARACTERS


@pytest.mark.parametrize(("mark", "lost"), [("\n", "\n"), (" ", " "), ("", "")])
def test_text_without_paragraphs_is_cut_at_lines_blanks_or_anywhere(tmp_path, mark, lost):
    text = mark.join(f"{number:06d}é" for number in range(200_000))
    path = tmp_path / "long.txt"
    path.write_text(text, encoding="utf-8")
    passages = [document.text for document in open_corpus(path).read()]
    assert lost.join(passages) == text
    assert max(map(len, passages)) <= PASSAGE_CHARACTERS
    if mark:
        assert all(re.match(r"\d{6}é", passage) for passage in passages)


def test_hidden_files_are_passed_over(tmp_path, sentences):
    write_jsonl(tmp_path / "a.jsonl", sentences)
    (tmp_path / ".DS_Store").write_bytes(b"\x00\xff")
    assert len(list(open_corpus(tmp_path).read())) == 400


def refusal(path, error=ValueError):
    with pytest.raises(error) as caught:
        open_corpus(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_corpus(tmp_path):
    message = refusal("inglish", FileNotFoundError)
    assert '"inglish"' in message
    assert '"english"' in message


def test_unknown_extension(tmp_path):
    (tmp_path / "notes.md").write_text("# Notes")
    for path in (tmp_path, tmp_path / "notes.md"):
        assert re.search(
            r'notes\.md: extension "\.md", expected \.txt, \.jsonl, \.jsonl\.gz or \.parquet', refusal(path)
        )


def test_not_utf8_names_the_byte(tmp_path):
    good = "één regel\n" * 200_000
    (tmp_path / "a.txt").write_bytes(good.encode() + b"caf\xe9 au lait")
    assert f"a.txt: not UTF-8 at byte offset {len(good.encode()) + 3}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{'text': 1}", "not JSON"),
        ('{"content": "x", "id": 1}', "columns ['content', 'id']"),
        ('{"text": null}', '"text" is a NoneType'),
        ('["text"]', "a list"),
        ('{"text": "\\ud800"}', "surrogate"),
    ],
)
def test_bad_line_is_named(tmp_path, sentences, line, complaint):
    write_jsonl(tmp_path / "a.jsonl", sentences[:3])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    message = refusal(tmp_path)
    assert "a.jsonl, line 5" in message
    assert complaint in message


def test_empty_corpora(tmp_path):
    assert "no files" in refusal(tmp_path)
    (tmp_path / "a.txt").write_text(" \n\n")
    (tmp_path / "b.jsonl").write_text('\n{"text": " "}\n')
    assert "no text" in refusal(tmp_path)


def test_a_split_without_documents(tmp_path, sentences):
    few = [text for text in sentences if split_of(text) != "test"][:40]
    write_jsonl(tmp_path / "a.jsonl", few)
    message = refusal(tmp_path)
    assert "none of its 40 documents falls to" in message
    assert "test" in message
    assert "give more text" in message


# Parquet and gzip.


def write_parquet(path, documents, column="text", rows=7):
    table = pa.table({"id": list(range(len(documents))), column: documents})
    pq.write_table(table, path, row_group_size=rows)


def test_parquet_rows_are_documents_in_order(tmp_path, sentences):
    write_parquet(tmp_path / "a.parquet", [sentences[0], " ", *sentences[1:]])
    found = list(open_corpus(tmp_path / "a.parquet").read())
    assert [document.text for document in found] == sentences
    assert [document.title for document in found][:3] == ["a.parquet:1", "a.parquet:3", "a.parquet:4"]
    assert found[-1].title == "a.parquet:401"


def test_the_format_of_a_document_does_not_move_it(tmp_path, sentences):
    for folder in ("jsonl", "parquet", "gz"):
        (tmp_path / folder).mkdir()
    write_jsonl(tmp_path / "jsonl" / "a.jsonl", sentences)
    write_parquet(tmp_path / "parquet" / "a.parquet", sentences[:200])
    write_parquet(tmp_path / "parquet" / "b.parquet", sentences[200:])
    (tmp_path / "gz" / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "jsonl" / "a.jsonl").read_bytes()))
    for split in SPLITS:
        expected = texts(open_corpus(tmp_path / "jsonl"), split)
        assert texts(open_corpus(tmp_path / "parquet"), split) == expected
        assert texts(open_corpus(tmp_path / "gz"), split) == expected


def test_another_column_is_another_corpus(tmp_path, sentences):
    table = pa.table({"text": sentences, "content": [text.upper() for text in sentences]})
    pq.write_table(table, tmp_path / "a.parquet")
    by_default = open_corpus(tmp_path / "a.parquet")
    named = open_corpus(TextFiles(path=str(tmp_path / "a.parquet"), column="content"))
    assert [document.text for document in named.read()] == [text.upper() for text in sentences]
    assert named.fingerprint != by_default.fingerprint
    assert open_corpus(TextFiles(path=str(tmp_path / "a.parquet"))).fingerprint == by_default.fingerprint


def test_a_column_that_is_not_there(tmp_path, sentences):
    write_parquet(tmp_path / "a.parquet", sentences, column="content")
    message = refusal(tmp_path)
    assert "a.parquet: columns ['content', 'id'], expected a string column \"text\"" in message
    assert "column: content" in message
    assert len(list(open_corpus(TextFiles(path=str(tmp_path), column="content")).read())) == 400
    assert '"id" is a int' in refusal(TextFiles(path=str(tmp_path), column="id"))


def test_damaged_files_are_named(tmp_path, sentences):
    write_parquet(tmp_path / "a.parquet", sentences)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    assert "a.parquet cannot be read as parquet" in refusal(tmp_path / "a.parquet")
    write_jsonl(tmp_path / "b.jsonl", sentences)
    packed = gzip.compress((tmp_path / "b.jsonl").read_bytes())
    for content in (packed[:-200], b"not gzip at all", packed[:200] + b"xxxxxxxxxxxx" + packed[212:]):
        (tmp_path / "c.jsonl.gz").write_bytes(content)
        assert "c.jsonl.gz" in refusal(tmp_path / "c.jsonl.gz")


def test_a_large_parquet_file_is_never_whole_in_memory(tmp_path):
    (document,) = [("x" * 100_000)]
    write_parquet(tmp_path / "a.parquet", [f"{number} {document}" for number in range(600)], rows=50)
    (file,) = text_files(tmp_path)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    most = max(pool.bytes_allocated() - before for _ in texts_of(file, "text"))
    assert most < 30_000_000  # of 60 million bytes: a row group of five million, and a few that are read ahead
