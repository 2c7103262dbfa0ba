"""Text becomes tokens and back without a loss."""

import sys

import numpy as np
import pytest

from distgrad import data
from distgrad.errors import DataError


@pytest.mark.parametrize("text", ["hello", "a", "größe 第一\n\t€", "\U0001f600\ud800\0z"])
def test_tokens_give_the_text_back(text):
    tokens, vocabulary = data.character_tokens(text)
    assert "".join(vocabulary[t] for t in tokens) == text
    assert list(vocabulary) == sorted(set(text))
    assert tokens.dtype == np.int64


def test_an_empty_text_is_refused():
    with pytest.raises(DataError, match="an empty text has no tokens"):
        data.character_tokens("")


def test_no_token_is_in_both_train_and_validation():
    train, validation = data.split_text(np.arange(105), 4)
    np.testing.assert_array_equal(train.tokens, np.arange(94))
    np.testing.assert_array_equal(validation.tokens, np.arange(94, 105))
    with pytest.raises(DataError, match="11 tokens hold no window of context 11"):
        data.split_text(np.arange(105), 11)


def test_python_comes_with_a_lot_of_english():
    text = data.python_docs()
    assert len(text) > 300_000
    assert text.count(" the ") > 3000
    assert text == data.python_docs()


def test_a_python_without_its_documentation_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="--text FILE"):
        data.python_docs()


def test_a_text_file_is_read_as_utf8(tmp_path):
    (tmp_path / "größe.txt").write_bytes("größe\r\nzwei\n".encode())
    assert data.text_file(tmp_path / "größe.txt") == "größe\nzwei\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9", r"story.txt is not UTF-8 \(byte 3: .*iconv"),
        (b"", r"story.txt is empty"),
        (None, r"story.txt cannot be read: .*No such file"),
    ],
)
def test_a_bad_text_file_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "story.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.text_file(tmp_path / "story.txt")
