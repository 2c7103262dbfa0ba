"""Text as byte-pair tokens, by the package ``tokenizers``, imported when the first one is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distgrad.errors import DataError, DistgradError
from distgrad.files import shown

END_OF_TEXT = "<|endoftext|>"
_BYTES = 256


class BytePairTokenizer:
    """Text to integers and back: bytes, and pairs of tokens that were often side by side.

    Every text has tokens, and decoding them gives it back. The rules and the file are GPT-2's
    (Radford et al., 2019), as the package ``tokenizers`` has them. ``train`` makes one of a text,
    ``load`` reads a ``tokenizer.json``.

    >>> text = "the cat and the hat and the bat\\n" * 9
    >>> tokenizer = dg.data.BytePairTokenizer.train(text, 270)
    >>> tokens = tokenizer.encode("the cat")
    >>> tokenizer.decode(tokens)
    'the cat'
    """

    def __init__(self, tokenizer: Any) -> None:
        """Take a ``tokenizers.Tokenizer``."""
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, text: str, vocabulary_size: int) -> BytePairTokenizer:
        """Return one with at most ``vocabulary_size`` tokens, from the pairs of ``text``.

        256 are the bytes and one is ``<|endoftext|>``. The same text gives the same tokens, on
        every rank. Errors: DataError for an empty text or fewer than 257 tokens, DistgradError
        without the package.
        """
        if not text:
            raise DataError("an empty text has no tokens: give one with characters in it")
        if vocabulary_size <= _BYTES:
            raise DataError(
                f"a vocabulary of {vocabulary_size} tokens is too small: {_BYTES} are the bytes, "
                f"one is {END_OF_TEXT}"
            )
        package = _package()
        byte_level = package.pre_tokenizers.ByteLevel
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=byte_level.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator([text], trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BytePairTokenizer:
        """Return the one in a ``tokenizer.json``: ``save``'s, or a model's from elsewhere.

        Errors: DataError, naming the file, if it cannot be read as one, DistgradError without the
        package.
        """
        package, name = _package(), shown(path)
        try:
            with open(path, encoding="utf-8") as file:
                content = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the tokenizer {name} cannot be read: {error}") from error
        try:
            return cls(package.Tokenizer.from_str(content))
        except Exception as error:
            raise DataError(f"{name} is no tokenizer.json that is understood: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``tokenizer.json``, which Hugging Face's ``AutoTokenizer`` reads, too."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._tokenizer.to_str(pretty=True))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of a text; ``<|endoftext|>`` in it is one."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def decode(self, tokens: Sequence[int] | NDArray[np.integer]) -> str:
        """Return the text of tokens; bytes that are no UTF-8, as at a cut, become U+FFFD.

        Errors: DataError for a token that is not in the vocabulary.
        """
        numbers = np.asarray(tokens, np.int64)
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if wrong.size:
            raise DataError(f"token {wrong[0]} is not among the {len(self)} of this tokenizer")
        decoded: str = self._tokenizer.decode(numbers.tolist(), skip_special_tokens=False)
        return decoded

    def __len__(self) -> int:
        """Return how many tokens there are: a model's ``vocab_size``."""
        return int(self._tokenizer.get_vocab_size())


def _package() -> Any:
    try:
        return import_module("tokenizers")
    except ImportError as error:
        raise DistgradError(
            "byte-pair tokens need the package tokenizers, which is not installed: "
            "pip install 'distgrad[text]'"
        ) from error
