"""A captured step gives the eager step's bits, whatever a step may do."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd import grad
from distgrad.nn import functional as F

STEPS = 9


def batches(n=6, width=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(n, width)).astype("f4"), rng.integers(0, classes, n))
        for _ in range(STEPS)
    ]


def bits(tensors):
    return [t.array.tobytes() for t in tensors]


def both(make, calls=None):
    """Run what ``make`` returns (a step and the models it trains) eagerly and captured."""
    calls = batches() if calls is None else calls
    found = []
    for capture in (False, True):
        dg.manual_seed(3)
        step, *models = make()
        run = dg.capture(step) if capture else step
        results = [
            np.asarray(r.array if isinstance(r, dg.Tensor) else r).tobytes()
            for r in (run(*c) for c in calls)
        ]
        found.append((results, [bits([*m.parameters(), *m.buffers()]) for m in models]))
    assert found[1] == found[0]
    return run


def mlp(*layers):
    return nn.Sequential(nn.Linear(4, 8), *(layers or (nn.ReLU(),)), nn.Linear(8, 3))


def trained(model, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def test_dropout_draws_as_the_eager_step_does():
    def make():
        model = mlp(nn.Dropout(0.5), nn.ReLU())
        return trained(model, optim.Adam(model.parameters())), model

    both(make)


def test_buffers_of_batch_norm_follow():
    def make():
        model = mlp(nn.BatchNorm1d(8), nn.ReLU())
        return trained(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)), model

    both(make)


def test_a_schedule_that_is_stepped_outside_is_followed():
    losses = []
    for capture in (False, True):
        dg.manual_seed(3)
        model = mlp()
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        schedule = optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        step = trained(model, optimizer)
        run = dg.capture(step) if capture else step
        for x, y in batches():
            losses.append(float(run(x, y)))
            schedule.step()
    assert losses[STEPS:] == losses[:STEPS]


def test_gradients_accumulate_over_calls():
    def weights(capture):
        dg.manual_seed(3)
        model = mlp()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def backward(x, y):
            F.cross_entropy(model(x), y).backward()

        run = dg.capture(backward) if capture else backward
        for i, (x, y) in enumerate(batches()):
            run(x, y)
            if i % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
        return bits(model.parameters())

    assert weights(capture=True) == weights(capture=False)


def test_one_capture_of_a_backward_that_may_find_gradients_has_two_programs():
    model = mlp()

    @dg.capture
    def backward(x, y):
        F.cross_entropy(model(x), y).backward()

    x, y = batches()[0]
    for _ in range(3):
        model.zero_grad()
        backward(x, y)
        backward(x, y)
    assert len(backward.programs) == 2


def test_frozen_parameters_get_a_program_of_their_own():
    def weights(capture):
        dg.manual_seed(3)
        model = mlp()
        step = trained(model, optim.SGD(model.parameters(), lr=0.1))
        run = dg.capture(step) if capture else step
        for i, (x, y) in enumerate(batches()):
            model[0].requires_grad_(i % 2 == 0)
            run(x, y)
        return bits(model.parameters()), run

    found, run = weights(capture=True)
    assert found == weights(capture=False)[0]
    assert len(run.programs) == 2


def test_one_array_passed_twice_has_a_program_of_its_own():
    run = dg.capture(lambda x, y: dg.tensor(x) * dg.tensor(y))
    one, two = np.full(3, 2, "f4"), np.full(3, 5, "f4")
    for _ in range(3):
        assert run(one, one).array.tolist() == [4, 4, 4]
    for _ in range(3):
        assert run(one, two).array.tolist() == [10, 10, 10]


def test_training_and_evaluation_have_programs_of_their_own():
    model = mlp(nn.BatchNorm1d(8))
    run = dg.capture(model)
    x, _ = batches()[0]
    for mode in (True, False, True, False):
        model.train(mode)
        found = run(x)
        copy = model.state_dict()
        with dg.no_grad():
            wanted = nn.Sequential(*model)(x)
        assert found.array.tobytes() == wanted.array.tobytes()
        model.load_state_dict(copy)
    assert len(run.programs) == 2


def test_shapes_have_programs_of_their_own_and_the_oldest_go():
    run = dg.capture(lambda x: x * 2, most=2)
    rows = [dg.ones(n, 2) for n in (1, 2, 3)]
    run(rows[0])
    run(rows[1])
    with pytest.warns(RuntimeWarning, match="captured for more than 2 signatures"):
        run(rows[2])
    assert len(run.programs) == 2
    assert run(rows[0]).array.tolist() == [[2, 2]]


def test_several_models_in_one_step():
    def make():
        maker, judge = nn.Linear(4, 4), nn.Linear(4, 1)
        makers = optim.Adam(maker.parameters(), lr=0.01)
        judges = optim.Adam(judge.parameters(), lr=0.01)

        def step(x, y):
            judges.zero_grad()
            made = maker(dg.randn(6, 4))
            loss = F.softplus(judge(made.detach())).mean() + F.softplus(-judge(x)).mean()
            loss.backward()
            judges.step()
            makers.zero_grad()
            cheat = F.softplus(-judge(made)).mean()
            cheat.backward()
            makers.step()
            return loss + cheat

        return step, maker, judge

    both(make)


def test_gradients_of_gradients_inside_the_step():
    def make():
        model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        def step(points):
            optimizer.zero_grad()
            x = dg.tensor(points, requires_grad=True)
            u = model(x)
            first = grad(u.sum(), x, create_graph=True)[0]
            second = grad(first.sum(), x, create_graph=True)[0]
            loss = ((second + u) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return step, model

    rng = np.random.default_rng(1)
    both(make, [(rng.random((7, 1)).astype("f4"),) for _ in range(STEPS)])


def test_shared_weights_and_values_used_twice():
    def make():
        model = nn.Linear(4, 4)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            h = model(x)
            h = h * h + model(h) * h
            loss = F.cross_entropy(h, y)
            loss.backward()
            optimizer.step()
            return loss

        return step, model

    both(make)


def test_writing_in_place():
    def make():
        model = mlp()
        average = mlp().requires_grad_(False)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            with dg.no_grad():
                for mine, its in zip(average.parameters(), model.parameters(), strict=True):
                    mine.mul_(0.9).add_(its, alpha=0.1)
            total = dg.zeros(3)
            total[1] = loss.detach()
            total += 0.5
            return total

        return step, model, average

    both(make)


def test_swa_and_gradients_read_in_the_step():
    def make():
        model = mlp()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        average = optim.swa_utils.AveragedModel(model)

        def step(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            size = sum((p.grad**2).sum() for p in model.parameters())
            optimizer.step()
            average.update_parameters(model)
            return size

        return step, model, average.module

    both(make)


def test_gradients_dropped_and_set_by_hand():
    def make():
        model = mlp()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            for p in model.parameters():
                p.grad = None
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            for p in model.parameters():
                p.grad = p.grad * 0.5
            optimizer.step()
            return loss

        return step, model

    both(make)


def test_numpy_slices_of_an_argument_are_followed():
    both(
        lambda: (
            lambda xy: (
                dg.tensor(xy[:, :2]) * xy[::2, 2:].sum() if False else dg.tensor(xy[:, 1:3]) * 2
            ),
        ),
        [(x,) for x, _ in batches()],
    )


def test_lists_and_dictionaries_of_arguments_and_results():
    @dg.capture
    def step(batch, scale, *, shift=1.0):
        return {"a": [batch["x"] * scale, batch["y"][0] + shift]}

    for i in range(5):
        x = np.full((2, 3), i, "f4")
        found = step({"x": dg.tensor(x), "y": [dg.tensor(x + 1)]}, 3, shift=0.5)
        assert found["a"][0].array.tolist() == (x * 3).tolist()
        assert found["a"][1].array.tolist() == (x + 1.5).tolist()
    step({"x": dg.tensor(x), "y": [dg.tensor(x)]}, 4)
    assert len(step.programs) == 2


def test_a_method_is_captured_for_each_object():
    class Trainer:
        def __init__(self, scale):
            self.scale = scale

        @dg.capture
        def step(self, x):
            return x * self.scale

    one, two = Trainer(2.0), Trainer(3.0)
    x = dg.tensor(np.ones(2, "f4"))
    for _ in range(5):
        assert one.step(x).array.tolist() == [2, 2]
        assert two.step(x).array.tolist() == [3, 3]


def test_weights_loaded_between_calls_are_used():
    model = nn.Linear(4, 3)
    run = dg.capture(model)
    x, _ = batches()[0]
    for _ in range(3):
        run(x)
    model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})
    assert run(x).array.tobytes() == model(x).array.tobytes()
    model.weight.data = model.weight.array + 1
    assert run(x).array.tobytes() == model(x).array.tobytes()


def test_the_program_says_what_the_step_does():
    model = mlp()
    run = dg.capture(trained(model, optim.AdamW(model.parameters())))
    x, y = batches()[0]
    run(x, y)
    text = str(run.program)
    lines = text.splitlines()
    assert lines[0].endswith("µs when recorded")
    assert "AdamW.zero_grad" in lines[2]
    assert any(line.split()[1:3] == ["op", "linear:"] and "6×8 float32" in line for line in lines)
    assert any("read '0.weight' of Sequential: 8×4 float32" in line for line in lines)
    assert "AdamW.step" in lines[-1]


def test_a_captured_step_in_another_is_a_part_of_it():
    inner = dg.capture(lambda x: x * 2)
    outer = dg.capture(lambda x: inner(x) + 1)
    x = dg.tensor(np.ones(2, "f4"))
    assert [outer(x).array.tolist() for _ in range(4)] == [[3, 3]] * 4
    assert inner.programs == []


def test_under_detect_anomaly_the_function_itself_runs():
    run = dg.capture(lambda x: x.log())
    with (
        np.errstate(invalid="ignore"),
        dg.detect_anomaly(),
        pytest.raises(dg.NonFiniteError, match="log"),
    ):
        run(dg.tensor(np.zeros(1, "f4") - 1))


def test_an_error_of_an_op_is_that_of_the_eager_step():
    run = dg.capture(F.cross_entropy)
    x = np.zeros((2, 3), "f4")
    for _ in range(3):
        run(x, np.array([0, 2]))
    with pytest.raises(dg.ShapeError, match="label 7"):
        run(x, np.array([0, 7]))


def test_layers_that_write_in_place():
    def make():
        body = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
        head = [nn.Flatten(), nn.Linear(4 * 16, 3), nn.Dropout(0.5, inplace=True)]
        model = nn.Sequential(*body, *head)
        return trained(model, optim.SGD(model.parameters(), lr=0.1)), model

    rng = np.random.default_rng(4)
    images = [rng.normal(size=(5, 1, 6, 6)).astype("f4") for _ in range(STEPS)]
    both(make, [(x, rng.integers(0, 3, 5)) for x in images])


def test_gradients_are_gathered_over_calls_whatever_is_drawn_before_them() -> None:
    def trained(captured: bool) -> bytes:
        dg.manual_seed(2)
        model = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), nn.Linear(3, 2))
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def gather(x: np.ndarray) -> None:
            (model(dg.tensor(x)) ** 2).mean().backward()

        call = dg.capture(gather) if captured else gather
        for i in range(12):
            if i % 3 == 0:
                optimizer.zero_grad()
            call(np.full((7, 5), i / 10, np.float32))
            if i % 3 == 2:
                optimizer.step()
        return b"".join(p.array.tobytes() for p in model.parameters())

    assert trained(True) == trained(False)
