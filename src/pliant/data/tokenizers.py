"""Bytes, characters of the Markov language, or any Hugging Face tokenizer, behind one small class."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

BYTES = "bytes"
BLANK_LINE = "\n\n"
MARKOV_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BATCH = 256  # documents a call: encode_batch works in parallel, and memory stays bounded


class TokenizerError(ValueError):
    """A tokenizer that cannot be opened or does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokenizer:
    """Turns text into token ids. `backend` is a transformers fast tokenizer; bytes are encoded without it.

    `separator` goes between documents and stands for `separator_bytes` bytes: a blank line, or an end token (none).
    `beginning` is what its own default encoding puts before every text (BOS of Llama and Gemma), () if nothing:
    models trained with it predict badly without.
    """

    name: str
    fingerprint: str
    vocabulary_size: int
    separator: tuple[int, ...]
    separator_bytes: int
    beginning: tuple[int, ...]
    backend: Any

    def encode(self, texts: Iterable[str]) -> Iterator[Int[np.ndarray, " tokens"]]:
        """The ids of each text, without special tokens."""
        if self.name == BYTES:
            for text in texts:
                yield np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
            return
        for batch in _batched(texts):
            for encoding in self.backend.backend_tokenizer.encode_batch(batch, add_special_tokens=False):
                yield np.asarray(encoding.ids, dtype=np.int64)

    def located(self, texts: Iterable[str]) -> Iterator[tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, "tokens 2"]]]:
        """The ids of each text without special tokens of the tokenizer's own, and the characters [start, end) that
        each stands for."""
        if self.name == BYTES:
            for text in texts:
                points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
                widths = 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)  # bytes in UTF-8
                characters = np.repeat(np.arange(len(points)), widths)
                ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
                yield ids, np.stack([characters, characters + 1], axis=1)
            return
        for batch in _batched(texts):
            for encoding in self.backend.backend_tokenizer.encode_batch(batch, add_special_tokens=False):
                spans = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
                yield np.asarray(encoding.ids, dtype=np.int64), spans

    def save(self, folder: Path) -> None:
        """Write the tokenizer files that `AutoTokenizer.from_pretrained(folder)` opens."""
        self.backend.save_pretrained(folder)


def open_tokenizer(name: str) -> Tokenizer:
    """`"bytes"`, `"markov"`, or the path or Hub name of a Hugging Face tokenizer.

    Raises:
        TokenizerError: nothing opens by that name, or it has no fast version.
    """
    if name == BYTES:
        return _wrap(name, _byte_tokenizer())
    if name == "markov":
        return _wrap(name, _character_tokenizer(MARKOV_ALPHABET))
    from transformers import AutoTokenizer

    try:
        # never None, which asks on the terminal; a fast tokenizer is data, so code of its own is never needed
        backend = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception on a damaged file, transformers almost anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if _is_sentencepiece(name, str(error)):
            raise TokenizerError(
                f"the tokenizer {name!r} comes as tokenizer.model without tokenizer.json, and could not be converted "
                f"({first}); pip install sentencepiece protobuf, or put its tokenizer.json beside it"
            ) from error
        raise TokenizerError(
            f"no tokenizer opens at {name!r} ({first}); "
            "give 'bytes', a folder with tokenizer.json, or a Hugging Face name"
        ) from error
    if not backend.is_fast:
        raise TokenizerError(f"the tokenizer {name!r} has no tokenizer.json (fast version); convert it first")
    return _wrap(name, backend)


def _is_sentencepiece(name: str, error: str) -> bool:
    """Whether transformers failed on a sentencepiece model, which it converts only with two more packages."""
    if Path(name).is_dir():
        return (Path(name) / "tokenizer.model").is_file() and not (Path(name) / "tokenizer.json").is_file()
    return "sentencepiece" in error.lower() or "tiktoken" in error.lower()


def _wrap(name: str, backend: Any) -> Tokenizer:
    serialised = backend.backend_tokenizer.to_str()
    if backend.eos_token_id is not None:
        separator, separator_bytes = (int(backend.eos_token_id),), 0
    else:
        separator = tuple(backend.backend_tokenizer.encode(BLANK_LINE, add_special_tokens=False).ids)
        separator_bytes = len(BLANK_LINE) if separator else 0
    return Tokenizer(
        name=name,
        fingerprint="sha256:" + hashlib.sha256(serialised.encode()).hexdigest(),
        vocabulary_size=1 + max(backend.get_vocab().values(), default=-1),  # ids may have gaps
        separator=separator,
        separator_bytes=separator_bytes,
        beginning=_beginning(backend),
        backend=backend,
    )


def _beginning(backend: Any) -> tuple[int, ...]:
    """The ids in front of the text's own in the default encoding of a text."""
    own = backend("a", add_special_tokens=False).input_ids
    whole = backend("a").input_ids
    return next((tuple(whole[:at]) for at in range(len(whole)) if own and whole[at : at + len(own)] == own), ())


def _byte_tokenizer() -> Any:
    """Token id = byte value: byte-level BPE without merges, over the printable stand-ins of the 256 bytes."""
    from tokenizers import Tokenizer as Backend
    from tokenizers.decoders import ByteLevel as ByteDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    backend = Backend(BPE(vocab={symbol: byte for byte, symbol in enumerate(byte_symbols())}, merges=[]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = ByteDecoder()
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


def byte_symbols() -> list[str]:
    """The character that byte-level BPE writes for each byte: itself where printable, else from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = itertools.count(0x100)
    return [chr(byte) if byte in printable else chr(next(stand_ins)) for byte in range(256)]


def _character_tokenizer(alphabet: str) -> Any:
    from tokenizers import Regex
    from tokenizers import Tokenizer as Backend
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: index for index, character in enumerate(alphabet)}
    backend = Backend(WordLevel(vocab=vocabulary, unk_token=alphabet[0]))
    backend.pre_tokenizer = Split(Regex("."), behavior="isolated")
    backend.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


def _batched(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
