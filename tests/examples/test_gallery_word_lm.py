"""What the word models carry on: hidden states from part to part, the rate from stop to stop."""

from __future__ import annotations

import re
import runpy

import numpy as np
import pytest
import word_lm
from training import alone

import distgrad as dg

TEXT = np.random.default_rng(0).integers(0, 5, 40)


def test_columns_are_consecutive_text_and_answers_are_the_words_that_follow() -> None:
    columns = word_lm.Columns(TEXT, 3, 4)
    assert len(columns) == 3 * columns.chunks == 9
    for column in range(3):
        parts = [columns[chunk * 3 + column] for chunk in range(3)]
        assert [part[2:] for part in parts] == [(column, chunk) for chunk in range(3)]
        read, following = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        assert np.array_equal(read, TEXT[12 * column : 12 * column + 12])
        assert np.array_equal(following, TEXT[12 * column + 1 : 12 * column + 13])


def test_a_shard_has_the_same_columns_in_every_batch_also_where_they_are_uneven() -> None:
    def columns_of_shards() -> list[list[list[int]]]:
        dg.init(shards=4)
        loader = dg.data.DataLoader(word_lm.Columns(TEXT, 6, 1), 6)
        return [[shard[2].tolist() for shard in batch.shards] for batch in loader]

    batches = alone(columns_of_shards)
    assert [column for columns in batches[0] for column in columns] == list(range(6))
    assert batches == [batches[0]] * 6


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_reading_in_parts_is_reading_in_one_go_and_a_second_pass_starts_anew(kind: str) -> None:
    def nats(context: int) -> list[float]:
        dg.init(shards=1)
        dg.manual_seed(0)
        model = word_lm.RNNModel(kind, 5, 6, 0.0)
        dg.nn.init.uniform_(model.encoder.weight, -1, 1)
        hidden = dg.zeros(word_lm.STATES[kind], 2, 3, 6)
        text = word_lm.Columns(TEXT, 3, context)
        return [word_lm.perplexity(dg.init(), model, text, hidden) for _ in range(2)]

    (whole, _), (first, second) = alone(lambda: nats(12)), alone(lambda: nats(4))
    assert first == second
    assert first == pytest.approx(whole, rel=1e-6)


def test_an_annealed_rate_is_still_annealed_after_a_resume(tmp_path, capsys, monkeypatch) -> None:
    file = tmp_path / "checkpoint"
    # This rate is so high that the perplexity rises, and it is annealed, within four steps.
    text = tmp_path / "text"
    text.write_text(" ".join(f"word{i}" for i in np.tile(TEXT, 50)), encoding="utf-8")
    settings = f"--batch-size 4 --width 8 --context 8 --sample 1 --every 1 --lr 200 --text {text}"

    def printed_hash(arguments: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["word_lm.py", *settings.split(), *arguments.split()])
        alone(lambda: runpy.run_path(word_lm.__file__, run_name="__main__"))
        return re.findall("^sha256 .*", capsys.readouterr().out, re.MULTILINE)

    straight = printed_hash("--steps 6")
    printed_hash(f"--steps 4 --checkpoint {file}")
    assert dg.load(file)["optimizer"]["param_groups"][0]["lr"] < 200
    assert printed_hash(f"--steps 6 --checkpoint {file} --resume") == straight != []
