"""Every constructor that is checked, given what its annotations exclude: walks over ``__all__``."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import distgrad as dg
from distgrad import ShapeError, nn, observe, optim, parallel, train
from distgrad.arguments import Kind, checked, explained, kinds_of
from distgrad.nn import state_sha256

CLASSES = [
    (name, found)
    for package in (optim, train, parallel, parallel.hooks, observe)
    for name in package.__all__
    if inspect.isclass(found := getattr(package, name)) and "__init__" in vars(found)
    if inspect.isfunction(found.__init__) and hasattr(found.__init__, "__wrapped__")
]
NONSENSE = ["x", None, [], float("nan"), 1.5j, object(), (0.9,), np.ones(2), {}]
OPTIMIZERS = [
    name
    for name in optim.__all__
    if inspect.isclass(getattr(optim, name)) and issubclass(getattr(optim, name), optim.Optimizer)
    if name not in {"Optimizer", "Lookahead"}  # the one has no update, the other no parameters
]


def parameters():
    return [nn.Parameter(np.ones((3, 3), "f4"))]


def arguments():
    """Yield each argument of each constructor that has a kind."""
    for name, found in CLASSES:
        for argument, kind in kinds_of(found.__init__).items():
            yield pytest.param(name, found, argument, kind, id=f"{name}-{argument}")


@pytest.mark.parametrize(("name", "found", "argument", "kind"), [*arguments()])
def test_nonsense_is_refused_before_anything_is_done(name, found, argument, kind):
    if argument in found.__init__.itself:
        pytest.skip("its constructor has more to say")
    signature = inspect.signature(found)
    required = [
        n
        for n, p in signature.parameters.items()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and n != argument
    ]
    # The arguments that come before are right, or have no kind: nothing but ours can be refused.
    others = {n: a for n in required if (a := _right(kinds_of(found.__init__).get(n))) is not None}
    if set(required) - set(others):
        pytest.skip("what else it needs cannot be made here")
    values = [value for value in NONSENSE if not kind.holds(value)]
    for value in values:
        with pytest.raises((TypeError, ShapeError)) as caught:
            found(**others, **{argument: value})
        assert str(caught.value).startswith(f"{name}: {argument} is {kind.words}; got ")


def _right(kind: Kind | None):
    candidates = [1, 0.5, "text", True, parameters(), optim.SGD(parameters(), lr=0.1), abs]
    candidates += [nn.Linear(2, 2), [2, 3], ["a"]]
    if kind is None:
        return parameters()
    return next((c for c in candidates if kind.holds(c)), None)


def test_the_walk_meets_all_optimizers_and_schedules():
    walked = {name for name, _ in CLASSES}
    assert set(OPTIMIZERS) <= walked
    assert {n for n in optim.__all__ if n.endswith(("LR", "Plateau", "Model", "Average"))} <= walked


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_is_checked_as_the_constructor_is(name):
    if name == "LBFGS":
        pytest.skip("it takes one group")
    optimizer = getattr(optim, name)(parameters())
    before = len(optimizer.param_groups)
    for value in ("x", None, float("nan"), object()):
        with pytest.raises((TypeError, ShapeError), match=rf"^{name}.* lr is a number"):
            optimizer.add_param_group({"params": parameters(), "lr": value})
    with pytest.raises(ShapeError, match=r"no setting \['lrr'\]"):
        optimizer.add_param_group({"params": parameters(), "lrr": 1.0})
    assert len(optimizer.param_groups) == before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_that_are_none_are_refused(name):
    make = getattr(optim, name)
    p = parameters()[0]
    for given in (None, [], "x", p, [None], [np.ones(3)], [p, p], [p * 2], nn.Linear(2, 2), 3):
        with pytest.raises((TypeError, ShapeError)) as caught:
            make(given)
        text = str(caught.value)
        assert name in text or "parameter" in text, text
        assert "object is not iterable" not in text, text


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_something_else_is_refused_with_nothing_changed(name):
    optimizer = getattr(optim, name)(parameters())
    before = repr(optimizer.state_dict())
    for state in (None, {}, [], nn.Linear(2, 2).state_dict(), {"state": {}, "param_groups": [{}]}):
        with pytest.raises((TypeError, ShapeError), match=f"{name}|the optimizer has groups"):
            optimizer.load_state_dict(state)
    assert repr(optimizer.state_dict()) == before


def test_another_length_or_word_is_a_wrong_value_another_type_a_wrong_type():
    with pytest.raises(ShapeError, match=r"Adam: betas is \(a number.*; got \(0\.9,\)"):
        optim.Adam(parameters(), betas=(0.9,))
    with pytest.raises(TypeError, match=r"Adam: betas is \(a number.*; got 0\.9"):
        optim.Adam(parameters(), betas=0.9)
    with pytest.raises(ShapeError, match=r"lr is a number, 0 or more .*; got nan"):
        optim.SGD(parameters(), lr=float("nan"))


def test_what_a_user_s_optimizer_annotates_is_checked_too():
    class Own(optim.Optimizer):
        def __init__(self, params, lr: float = 0.1, schedule: NoSuchName = None):  # noqa: F821
            super().__init__(params, {"lr": lr, "schedule": schedule})

    with pytest.raises(TypeError, match="Own: lr is a number; got 'fast'"):
        Own(parameters(), lr="fast")
    assert Own(parameters(), schedule="anything").defaults["schedule"] == "anything"


def test_usual_settings_are_checked_where_a_user_s_optimizer_does_not_say_what_they_are():
    class Own(optim.Optimizer):
        def __init__(self, params, lr=0.1, betas=(0.9, 0.99), eps=None):
            super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    for wrong in ({"lr": -1.0}, {"lr": float("nan")}, {"betas": (0.9, 1.0)}, {"eps": (1e-8, -1)}):
        [(name, value)] = wrong.items()
        with pytest.raises(ShapeError, match=rf"^Own: {name} is .*; got {re.escape(str(value))}"):
            Own(parameters(), **wrong)
    assert Own(parameters(), lr=dg.tensor(0.1), eps=(1e-30, 1e-3)).defaults["eps"] == (1e-30, 1e-3)


CLIPS = [dg.clip_grad_norm_, optim.clip_grad_value_, optim.adaptive_clip_grad_]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda f: f.__name__)
def test_clipping_refuses_what_is_no_parameter_or_limit_and_changes_no_gradient(clip):
    p = parameters()[0]
    p.grad = dg.Tensor(np.full((3, 3), 5, "f4"))
    for given in (None, 3, [None], ["a"], [np.ones(3)], nn.Linear(2, 2)):
        with pytest.raises(TypeError, match=rf"^{clip.__name__}: \w+ is .*Tensor.*; got "):
            clip(given, 1.0)
    for limit in ("x", None, []):
        with pytest.raises(TypeError, match=rf"^{clip.__name__}: \w+ is a number; got "):
            clip([p], limit)
    for limit in (-1.0, float("nan")):
        with pytest.raises(ShapeError, match=f"0 or more; got {limit}"):
            clip([p], limit)
    np.testing.assert_array_equal(p.grad.array, 5)


SCHEDULES = {
    "StepLR": (3,),
    "MultiStepLR": ([2, 4],),
    "CosineAnnealingWarmRestarts": (3,),
    "OneCycleLR": (1.0, 9),
    "ReduceLROnPlateau": (),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_refuse_a_state_of_something_else(name):
    schedule = getattr(optim, name)(optim.SGD(parameters(), 0.1, momentum=0.9), *SCHEDULES[name])
    with pytest.raises(ShapeError, match=rf"^{name}: the state has no .*only \['weight'\]"):
        schedule.load_state_dict({"weight": 1})
    with pytest.raises(TypeError, match=rf"^{name} loads a state_dict\(\), a mapping; got None"):
        schedule.load_state_dict(None)


def test_an_average_of_another_model_changes_nothing():
    average = optim.AveragedModel(nn.Linear(2, 2))
    before = state_sha256(average.module.state_arrays())
    with pytest.raises(ShapeError, match=r"average has shape \(2, 2\), .* model \(3, 2\)"):
        average.update_parameters(nn.Linear(2, 3))
    assert state_sha256(average.module.state_arrays()) == before


def test_functions_look_before_or_after():
    @checked
    def before(n: int, *rest: str) -> int:
        raise AssertionError("it must not run")

    @explained
    def after(n: int) -> int:
        return n.no_such_attribute

    with pytest.raises(TypeError, match=r"^before: n is a whole number; got 'x'"):
        before("x")
    with pytest.raises(TypeError, match=r"^after: n is a whole number; got 'x'"):
        after("x")
    with pytest.raises(AttributeError, match="no_such_attribute"):
        after(3)


def test_an_average_follows_a_model_that_is_wrapped():
    model = nn.Linear(2, 3)
    average = optim.AveragedModel(model)
    whole = nn.Sequential(nn.Sequential(model))  # whose parameters have other names
    average.update_parameters(whole)
    np.testing.assert_array_equal(average.module.weight.array, model.weight.array)
