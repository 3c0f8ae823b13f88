"""Text packed once into a memory-mapped file of token ids."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from pliant.data.corpora import Corpus, Split
from pliant.data.tokenizers import Tokenizer
from pliant.records.identity import digest
from pliant.records.places import cache_folder

PACKING_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedStream:
    """The documents of one split, tokenised, a separator after each. `byte_count` is what the tokens stand for."""

    tokens: Integer[np.ndarray, " tokens"]
    byte_count: int
    fingerprint: str

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text that a token stands for on average; exactly 1 for the byte tokenizer."""
        return self.byte_count / len(self.tokens)


def pack(corpus: Corpus, split: Split, tokenizer: Tokenizer) -> PackedStream:
    """Tokenise `split` of `corpus`, or open the packed file if it is there already.

    Raises:
        ValueError: no document of `corpus` is in `split`.
    """
    fingerprint = "sha256:" + digest([PACKING_VERSION, corpus.fingerprint, tokenizer.fingerprint, split], length=64)
    folder = cache_folder() / "streams" / fingerprint.removeprefix("sha256:")[:24]
    if not (folder / "stream.json").is_file():
        _write(folder, corpus, split, tokenizer)
    about = json.loads((folder / "stream.json").read_text())
    tokens = np.memmap(folder / "tokens.bin", dtype=np.dtype(about["dtype"]), mode="r")
    return PackedStream(tokens=tokens, byte_count=about["byte_count"], fingerprint=fingerprint)


def _write(folder: Path, corpus: Corpus, split: Split, tokenizer: Tokenizer) -> None:
    dtype = np.dtype(_smallest_type(tokenizer.vocabulary_size))
    separator = np.asarray(tokenizer.separator, dtype=dtype)
    byte_count = 0

    def texts() -> Iterator[str]:
        nonlocal byte_count
        for document in corpus.documents(split):
            byte_count += len(document.text.encode()) + tokenizer.separator_bytes
            yield document.text

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        with (temporary / "tokens.bin").open("wb") as file:
            for ids in tokenizer.encode(texts()):
                file.write(ids.astype(dtype).tobytes())
                file.write(separator.tobytes())
        if not byte_count:
            raise ValueError(f"{corpus.name} has no {split} text; name a corpus or a split of it that has")
        about = {
            "dtype": dtype.name,
            "byte_count": byte_count,
            "corpus": corpus.name,
            "split": split,
        }
        (temporary / "stream.json").write_text(json.dumps(about))
        try:
            os.replace(temporary, folder)
        except OSError:  # another process packed the same stream first
            if not (folder / "stream.json").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _smallest_type(vocabulary_size: int) -> str:
    return "uint8" if vocabulary_size <= 256 else "uint16" if vocabulary_size <= 65536 else "uint32"
