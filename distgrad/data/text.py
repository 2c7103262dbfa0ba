"""Text as tokens: one file, or the documentation that comes with Python; one token a character."""

import os
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distgrad.data.datasets import TextDataset
from distgrad.errors import DataError


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


def text_file(path: str | os.PathLike[str]) -> str:
    """Return a UTF-8 text file's text, line ends as ``\\n``.

    Raises DataError, naming the file, if it cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"the text file {path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text file {path} is not UTF-8 (byte {error.start}: {error.reason}): convert it, "
            "e.g. with iconv -t UTF-8"
        ) from error
    if not text:
        raise DataError(f"the text file {path} is empty: name one with text in it")
    return text


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


def split_text(
    tokens: NDArray[np.integer], context: int, *, train: float = 0.9
) -> tuple[TextDataset, TextDataset]:
    """Return (train, validation): windows of the first ``train`` part and of the rest.

    No token is in both. Raises DataError if a part holds no window of ``context`` tokens.
    """
    cut = int(len(tokens) * train)
    return TextDataset(tokens[:cut], context), TextDataset(tokens[cut:], context)
