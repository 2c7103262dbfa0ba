"""Text as tokens: one file, or the documentation that comes with Python; one token a character."""

import io
import os
from importlib import import_module
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from distgrad.arguments import explained
from distgrad.data.datasets import TextDataset
from distgrad.errors import DataError
from distgrad.files import open_regular, shown, size_of

_MOST_BYTES = 1 << 30  # as tokens, a character takes eight and more
_BLOCK = 1 << 20


def python_docs() -> str:
    """Return the English documentation topics of this Python, sorted by their names.

    Some 500,000 characters; they differ between Python versions, and so may the vocabulary.
    Raises DataError where a stripped-down Python comes without them.
    """
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DataError(
            "this Python comes without its documentation topics (pydoc_data): name a text file "
            "(--text FILE), or install the full standard library"
        ) from error
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


@explained
def text_file(path: str | os.PathLike[str]) -> str:
    """Return a UTF-8 text file's text, line ends as ``\\n``.

    Raises DataError, naming the file, if it cannot be read, is not UTF-8, is empty, or is larger
    than 1 GiB.
    """
    name = shown(path)
    try:
        with open_regular(path) as file:
            if size_of(file) > _MOST_BYTES:
                raise DataError(
                    f"the text file {name} has {size_of(file):,} bytes; {_MOST_BYTES:,} are the "
                    "most that are read: cut a part out of it, or make tokens of it on your own"
                )
            text = _decoded(file, name)
    except OSError as error:
        raise DataError(f"the text file {name} cannot be read: {error}") from error
    if not text:
        raise DataError(f"the text file {name} is empty: name one with text in it")
    return text


def _decoded(file: BinaryIO, name: str) -> str:
    """Return the text in a file, read in blocks: the first bad byte is told before all is read."""
    pieces = []
    with io.TextIOWrapper(file, encoding="utf-8") as text:
        try:
            while piece := text.read(_BLOCK):
                pieces.append(piece)
        except UnicodeDecodeError as error:
            position = file.tell() - len(error.object) + error.start
            raise DataError(
                f"the text file {name} is not UTF-8 (byte {position}: {error.reason}): convert "
                "it, e.g. with iconv -t UTF-8"
            ) from error
    return "".join(pieces)


@explained
def character_tokens(text: str) -> tuple[NDArray[np.int64], str]:
    """Return (tokens, vocabulary): ``vocabulary[tokens[i]] == text[i]``, the vocabulary sorted.

    Raises DataError for an empty text.
    """
    if not text:
        raise DataError("an empty text has no tokens: give one with characters in it")
    # UTF-32 is one word a character, so NumPy can do the work; lone surrogates pass as they are.
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
    used, tokens = np.unique(points, return_inverse=True)
    return tokens.astype(np.int64, copy=False), "".join(map(chr, used))


@explained
def split_text(
    tokens: NDArray[np.integer], context: int, *, train: float = 0.9
) -> tuple[TextDataset, TextDataset]:
    """Return (train, validation): windows of the first ``train`` part and of the rest.

    No token is in both. Raises DataError if a part holds no window of ``context`` tokens.
    """
    cut = int(len(tokens) * train)
    return TextDataset(tokens[:cut], context), TextDataset(tokens[cut:], context)
