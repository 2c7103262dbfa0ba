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


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scale = nn.Parameter(dg.ones(3))
        self.register_buffer("shift", dg.ones(3))

    def forward(self, x):
        return (self.linear(x) * self.scale + self.shift).sum()


def a_buffer(model):
    model.shift = dg.full((3,), 7.0)


def a_parameter(model):
    model.scale = nn.Parameter(dg.full((3,), 7.0))


def a_module(model):
    model.linear = nn.Linear(3, 3)


def more(model):
    model.linear = nn.Sequential(model.linear, nn.Tanh())


@pytest.mark.parametrize("replace", [a_buffer, a_parameter, a_module, more])
def test_what_is_replaced_between_calls_is_followed(replace):
    model = Scaled()
    step, x = dg.capture(model), dg.tensor([[1.0, 2.0, 3.0]])
    for turn in range(14):
        if turn in (5, 9):
            replace(model)
        assert step(x).item() == model(x).item(), turn


def test_a_module_that_grows_is_followed():
    model = nn.Sequential(nn.Linear(3, 3))
    step, x = dg.capture(model), dg.tensor([[1.0, 2.0, 3.0]])
    for turn in range(10):
        if turn == 5:
            model.append(nn.Tanh())
        assert step(x).array.tobytes() == model(x).array.tobytes(), turn


def test_what_others_replace_records_nothing_anew():
    model, other = Scaled(), Scaled()
    step, x = dg.capture(model), dg.ones(1, 3)
    for _ in range(20):
        a_module(other)
        step(x)
    assert len(step.programs) == 1


def test_a_buffer_of_a_module_that_was_called_is_known_outside_of_it():
    model = Scaled()

    @dg.capture
    def step(x):
        return model(x) * model.shift

    for turn in range(6):
        model.shift.mul_(1.5)
        found = step(dg.ones(1, 3))
        assert found.array.tobytes() == (model(dg.ones(1, 3)) * model.shift).array.tobytes(), turn


@pytest.mark.parametrize(
    "chosen",
    [
        lambda x: x.max(dim=1)[0],
        lambda x: x.max(1, keepdim=True).indices,
        lambda x: x.min(dim=0).indices,
        lambda x: x[x.max(dim=1)[0] < 1.2],
    ],
)
def test_the_places_of_extremes_are_found_anew_by_replays(chosen):
    captured = dg.capture(chosen)
    for turn in range(6):
        x = dg.tensor([[0.5, 1.0], [1.1, 0.9], [0.7, 0.2]]).roll(turn, 0) + 0.1 * turn
        assert captured(x).array.tobytes() == chosen(x).array.tobytes()
