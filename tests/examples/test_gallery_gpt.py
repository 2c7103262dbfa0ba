"""A small GPT: it looks back only, its weights are tied, and how it learns and writes."""

from __future__ import annotations

import gpt
import numpy as np
import pytest
from training import alone

import distgrad as dg


def small_model() -> gpt.GPT:
    dg.manual_seed(0)
    return gpt.GPT(gpt.GPTConfig(vocab_size=7, block_size=6, n_layer=3, n_head=2, n_embd=8))


def test_a_character_is_guessed_from_those_before_it_alone() -> None:
    def logits(last: int) -> np.ndarray:
        return small_model()(dg.tensor([[1, 2, 3, last, last]])).detach().numpy()

    one, other = alone(lambda: logits(4)), alone(lambda: logits(5))
    assert np.array_equal(one[:, :3], other[:, :3])
    assert not np.any(np.all(one[:, 3:] == other[:, 3:], axis=-1))


def test_embedding_and_head_stay_one_weight_when_a_model_is_loaded() -> None:
    def loaded() -> gpt.GPT:
        model = small_model()
        model.load_state_dict(small_model().state_dict())
        return model

    model = alone(loaded)
    assert model.wte.weight is model.lm_head.weight
    assert sum(p.numel() for p in model.parameters()) == 7 * 8 + 6 * 8 + 3 * (12 * 64 + 16) + 8


def test_the_rate_warms_up_to_its_highest_value_and_falls_to_a_tenth() -> None:
    rates = [gpt.get_lr(it, 0.5, 300) for it in range(302)]
    assert rates[0] == pytest.approx(0.5 / 31)
    assert max(rates) == rates[30] == 0.5
    assert np.all(np.diff(rates[:31]) > 0)
    assert np.all(np.diff(rates[30:301]) < 0)
    assert rates[165] == pytest.approx(0.275)  # halfway down the cosine
    assert rates[300:] == pytest.approx([0.05, 0.05])


def test_the_most_probable_character_is_written_with_top_k_of_one_past_the_context() -> None:
    def written() -> tuple[list[int], list[int]]:
        model = small_model().eval()
        found = model.generate(dg.tensor([[3]]), 10, top_k=1)[0].tolist()
        greedy = [3]
        for _ in range(10):
            greedy.append(model(dg.tensor([greedy[-6:]]))[0, -1].argmax().item())
        return found, greedy

    found, greedy = alone(written)
    assert found == greedy
