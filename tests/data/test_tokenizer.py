"""Byte-pair tokens, where the package ``tokenizers`` is installed; the error where it is not."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
from jobs import ROOT, run_job

import distgrad as dg
from distgrad.data import BytePairTokenizer

TEXT = "".join(f"the cat {i} and the hat {i * i} sat on the mat\n" for i in range(200))
AWKWARD = "été — 漢字 \U0001f600\r\n\n\t  two  spaces the end"

installed = importlib.util.find_spec("tokenizers") is not None
needs_package = pytest.mark.skipif(
    not installed, reason="tokenizers is not installed: pip install 'distgrad[text]'"
)


@pytest.fixture(scope="module")
def tokenizer():
    return BytePairTokenizer.train(TEXT, 300)


@needs_package
def test_any_text_comes_back_from_its_tokens(tokenizer):
    for text in (TEXT, AWKWARD, "", "<|endoftext|>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@needs_package
def test_what_it_was_trained_on_has_fewer_tokens_than_bytes(tokenizer):
    assert len(tokenizer) == 300
    tokens = tokenizer.encode(TEXT)
    assert tokens.dtype == np.int64
    assert tokens.ndim == 1
    assert len(tokens) < 0.6 * len(TEXT)
    assert len(tokenizer.encode(AWKWARD.upper())) > len(AWKWARD)
    assert tokenizer.encode("a<|endoftext|>b").tolist() == [
        *tokenizer.encode("a"),
        0,
        *tokenizer.encode("b"),
    ]


@needs_package
def test_a_file_has_the_same_tokens_and_is_hugging_faces(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = BytePairTokenizer.load(path)
    assert loaded.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert json.loads(path.read_text(encoding="utf-8"))["model"]["type"] == "BPE"


@needs_package
def test_its_tokens_train_a_gpt2(tokenizer):
    tokens = tokenizer.encode(TEXT)
    train, _ = dg.data.split_text(tokens, 16)
    loader = dg.data.DataLoader(train, 12, shuffle=True, seed=0)
    sizes = {"n_positions": 16, "n_embd": 24, "n_layer": 1, "n_head": 3}
    model = dg.nn.zoo.GPT2(vocab_size=len(tokenizer), **sizes)
    optimizer = dg.optim.AdamW(model.parameters(), lr=1e-2)

    def loss_of(logits, targets):
        return dg.nn.functional.cross_entropy(logits.flatten(0, 1), targets.ravel())

    losses = []
    for step, batch in enumerate(loader):
        (shard,) = batch.shards
        optimizer.zero_grad()
        loss = loss_of(model(shard[0]), shard[1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step == 11:
            break
    assert losses[-1] < 0.8 * losses[0]


@needs_package
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda folder: BytePairTokenizer.train("", 300), "an empty text has no tokens"),
        (lambda folder: BytePairTokenizer.train(TEXT, 256), "256 are the bytes, one is"),
        (lambda folder: BytePairTokenizer.load(folder / "no"), "no.* cannot be read: .*No such"),
        (lambda folder: BytePairTokenizer.load(folder / "wrong"), "wrong.* is no tokenizer.json"),
        (BytePairTokenizer.load, "cannot be read: .*Is a directory"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(tmp_path, call, said):
    (tmp_path / "wrong").write_text("{}")
    with pytest.raises(dg.DataError, match=said):
        call(tmp_path)


@needs_package
@pytest.mark.parametrize("tokens", [[3, 300], [-1]])
def test_a_token_that_there_is_not_is_named(tokenizer, tokens):
    with pytest.raises(dg.DataError, match=f"token {tokens[-1]} is not among the 300"):
        tokenizer.decode(tokens)


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(dg.DistgradError, match=r"pip install 'distgrad\[text\]'"):
        BytePairTokenizer.train(TEXT, 300)


@needs_package
def test_three_ranks_train_the_gpt_of_the_examples_on_byte_pairs(tmp_path):
    (tmp_path / "text").write_text(TEXT)
    words = ["--text", str(tmp_path / "text"), "--tokenizer", "300", "--steps", "4", "--json"]
    words += ["--layers", "1", "--heads", "2", "--width", "16", "--context", "16"]
    ended = {ranks: run_job(ranks, ROOT / "examples/char_gpt.py", *words) for ranks in (0, 3)}
    results = [json.loads(job.out.splitlines()[-1]) for job in ended.values()]
    assert [result["ranks"] for result in results] == [1, 3]
    assert results[0]["sha256"] == results[1]["sha256"]
