"""What a step writes into parameters past the tape is written by its replays, too."""

from __future__ import annotations

import pytest

import distgrad as dg
from distgrad import nn


def through_data(online, target):
    online.weight.data -= 0.1 * online.weight.grad.data
    online.bias.data.add_(online.bias.grad.data.clamp_(-0.5, 0.5), alpha=-0.1)
    kept = target.weight.data
    target.weight.data.mul_(0.9)
    target.weight.data.add_(0.1 * kept * online.weight.data.clone())
    target.bias.data[0] = 0.9 * online.bias.data[1]


def through_detached(online, target):
    online.weight.detach().sub_(0.1 * online.weight.grad)
    target.weight.detach().copy_(0.9 * target.weight.detach() + 0.1 * online.weight.detach())


@pytest.mark.parametrize("follow", [through_data, through_detached])
def test_what_is_written_through_data_is_written_by_replays(follow):
    def weights(capture):
        dg.manual_seed(0)
        online, target = nn.Linear(3, 3), nn.Linear(3, 3)

        def step(x):
            online.zero_grad()
            (online(x) ** 2).sum().backward()
            follow(online, target)

        run = dg.capture(step) if capture else step
        seen = []
        for turn in range(9):
            run(dg.full((2, 3), 0.1 * turn))
            seen += [p.array.tobytes() for m in (online, target) for p in m.parameters()]
        return seen

    assert weights(capture=True) == weights(capture=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dg.Tensor([1.0, 2.0]),
        lambda: dg.FloatTensor([1, 2]),
        lambda: dg.FloatTensor(2).zero_(),
        lambda: dg.tensor([1.0, 2.0]),
        lambda: dg.full((2,), 3.0),
        lambda: dg.hann_window(2),
        lambda: dg.kaiser_window(2),
        lambda: dg.bartlett_window(2),
        lambda: dg.fft.fftfreq(2),
        lambda: dg.fft.rfftfreq(2),
        lambda: dg.linspace(0, 1, 2),
        lambda: nn.utils.rnn.pad_sequence([dg.ones(2), dg.ones(1)])[:, 0],
        lambda: nn.functional.affine_grid(dg.ones(1, 2, 3), (1, 1, 2, 2))[0, 0, :, 0],
    ],
)
def test_what_is_made_inside_a_step_is_made_anew_by_replays(make):
    def step(x):
        made = make()
        made += x
        made[0] += 1
        return made * 2

    captured = dg.capture(step)
    for turn in range(6):
        x = dg.full((2,), 0.5 * turn)
        assert captured(x).array.tobytes() == step(x).array.tobytes()
