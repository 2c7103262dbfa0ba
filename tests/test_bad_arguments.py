"""What data, distributions, containers, files and the bridge say of arguments of another kind."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import distgrad as dg
from distgrad import ShapeError, Tensor, data, distributions, nn
from distgrad.arguments import kinds_of
from distgrad.data import transforms
from distgrad.integrate import odeint

PLAIN = "object is not|has no attribute|could not convert|unsupported operand|not supported between"
PLAIN += "|broadcast together|must be an iterable|inhomogeneous|argument must be|has no len"
NONSENSE = [None, "x", 1.5j, object(), [], {}, float("nan"), -1, np.ones(2), [None], lambda: None]


def _classes():
    """Yield what is constructed by at least one argument, of all three packages."""
    for package in (data, transforms, distributions):
        for name in package.__all__:
            found = getattr(package, name)
            if not inspect.isclass(found) or not inspect.isfunction(vars(found).get("__init__")):
                continue
            if hasattr(found.__init__, "__wrapped__"):
                yield pytest.param(name, found, id=name)


@pytest.mark.parametrize(("name", "found"), [*_classes()])
def test_a_constructor_takes_nonsense_or_names_it(name, found):
    required = [
        (n, p.kind)
        for n, p in inspect.signature(found).parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    for value in NONSENSE:
        given = {n: value for n, kind in required if kind != inspect.Parameter.POSITIONAL_ONLY}
        error = _raised_by(found, given)
        assert not re.search(PLAIN, str(error)), f"{name}({given}): {error!r}"
        if error is None:
            kinds = kinds_of(found.__init__)
            assert not [n for n in given if n in kinds and not kinds[n].holds(value)]


def _raised_by(found, given):
    try:
        found(**given)
    except (TypeError, ValueError, KeyError, AttributeError, dg.DistgradError) as error:
        return error
    return None


def test_settings_of_a_loader_that_would_fail_later_are_refused_at_once():
    numbers = np.arange(12.0).reshape(6, 2)
    for setting, wrong in (("collate_fn", 3), ("shuffle", "yes"), ("seed", "x"), ("drop_last", [])):
        with pytest.raises((TypeError, ShapeError), match=f"DataLoader: {setting} is .*; got "):
            data.DataLoader(numbers, 2, **{setting: wrong})


@pytest.mark.parametrize("shape", [-1, "x", (2, -1), 1.5, None])
def test_a_sample_has_a_shape(shape):
    with pytest.raises(ShapeError, match="sample_shape is a tuple of whole numbers"):
        distributions.Normal(0.0, 1.0).sample(shape)


CONTAINERS = [nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict]


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda c: c.__name__)
def test_a_container_says_what_it_takes(container):
    for given in (3, None, lambda: None, [object()], "x"):
        with pytest.raises(TypeError, match=f"{container.__name__} |a Tensor holds numbers"):
            container(given)


def test_hooks_are_functions():
    with pytest.raises(TypeError, match="a forward hook is a function; got 3"):
        nn.ReLU().register_forward_hook(3)


@pytest.mark.parametrize("state", [None, 3, [], "x"])
def test_a_state_is_a_mapping(state):
    with pytest.raises(TypeError, match=r"Linear.load_state_dict takes a mapping of names to"):
        nn.Linear(2, 2).load_state_dict(state)


@pytest.mark.parametrize("loss", [None, 3, "x", np.ones(2), Tensor(np.ones(2))])
def test_backward_takes_a_loss(loss):
    ddp = dg.DistributedDataParallel(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="backward takes the loss, a Tensor of one number; got"):
        ddp.backward(loss)


def test_files_are_named_by_paths(tmp_path):
    for path in (None, 3):
        with pytest.raises(TypeError, match=r"^load: .* is .*; got "):
            dg.load(path)
        with pytest.raises(TypeError, match=r"^save: .* is .*; got "):
            dg.save({"a": np.ones(2)}, path)
    assert not [*tmp_path.iterdir()]


def test_odeint_names_what_it_cannot_use():
    for given in ((None, 1.0, [0.0, 1.0]), (3, 1.0, [0.0, 1.0]), (abs, "x", [0.0, 1.0])):
        with pytest.raises(TypeError, match=r"^odeint: \w+ is .*; got |holds numbers"):
            odeint(*given)
