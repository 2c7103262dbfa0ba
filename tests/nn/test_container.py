"""Containers: lists and dictionaries of modules and parameters."""

from collections import OrderedDict

import numpy as np
import pytest

from distgrad import nn
from distgrad.errors import GradError


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor

    def extra_repr(self):
        return str(self.factor)


def factors(modules):
    return [m.factor for m in modules]


def names(model):
    return [n for n, _ in model.named_children()]


def test_a_dictionary_names_the_parts_of_a_sequential():
    model = nn.Sequential(OrderedDict(first=Times(2), second=Times(3)))
    assert model(1) == 6
    assert names(model) == ["first", "second"]
    assert model.second.factor == 3
    assert names(model[1:]) == ["second"]
    model[-1] = Times(5)
    assert names(model) == ["first", "second"]
    assert model(1) == 10


@pytest.mark.parametrize("make", [nn.Sequential, lambda *m: nn.ModuleList(m)])
def test_sequences_of_modules_are_lists(make):
    model, plain = make(*map(Times, (2, 3, 5, 7))), [2, 3, 5, 7]
    for index in (0, 3, -1, -4):
        assert model[index].factor == plain[index]
    for part in (slice(1, None), slice(None, None, 2), slice(-2, None), slice(4, 9)):
        assert factors(model[part]) == plain[part]
        assert type(model[part]) is type(model)
    assert model.append(Times(11)) is model
    assert model.extend([Times(13), Times(17)]) is model
    assert model.insert(1, Times(19)) is model
    assert model.insert(-1, Times(23)) is model
    plain += [11, 13, 17]
    plain.insert(1, 19)
    plain.insert(-1, 23)
    assert factors(model) == plain
    assert names(model) == [str(i) for i in range(len(plain))]
    model[-2] = Times(29)
    plain[-2] = 29
    del model[0], model[-1], model[1:3]
    del plain[0], plain[-1], plain[1:3]
    assert model.pop().factor == plain.pop()
    assert model.pop(0).factor == plain.pop(0)
    same = model
    model += [Times(31)]
    assert model is same
    assert factors(model) == [*plain, 31]
    assert factors(model + model[:1]) == [*plain, 31, plain[0]]
    assert names(model) == [str(i) for i in range(len(model))]
    assert len(model) == len(plain) + 1


@pytest.mark.parametrize("make", [nn.Sequential, nn.ModuleList, nn.ParameterList])
def test_an_index_outside_is_refused(make):
    for index in (0, -1):
        with pytest.raises(IndexError, match=rf"{make.__name__} has 0 elements; got index {index}"):
            make()[index]
    with pytest.raises(IndexError, match="got index 2"):
        del make()[2]


def test_what_is_no_module_is_refused():
    for make in (nn.Sequential, lambda x: nn.ModuleList([x]), lambda x: nn.ModuleDict({"a": x})):
        with pytest.raises(TypeError, match=r"holds modules; got int"):
            make(3)


def test_module_dicts_are_dictionaries():
    model = nn.ModuleDict({"a": Times(2), "b": Times(3)})
    model["c"] = Times(5)
    model.update([("a", Times(7)), ("d", Times(11))])
    assert list(model) == list(model.keys()) == ["a", "b", "c", "d"]
    assert factors(model.values()) == [7, 3, 5, 11]
    assert [(k, m.factor) for k, m in model.items()][1] == ("b", 3)
    assert "b" in model
    assert "x" not in model
    assert len(model) == 4
    assert model.pop("b").factor == 3
    del model["a"]
    assert names(model) == ["c", "d"]
    for missing in (lambda: model["b"], lambda: model.pop("b"), lambda: model.__delitem__("b")):
        with pytest.raises(KeyError, match="b"):
            missing()
    with pytest.raises(KeyError, match="ModuleDict has an attribute 'keys' already"):
        model["keys"] = Times(1)
    model.clear()
    assert len(model) == 0
    assert model == model
    assert model != nn.ModuleDict()
    assert {model: 1}[model] == 1


def test_parameter_lists_make_parameters_of_what_they_are_given():
    p = nn.Parameter(np.zeros(2, np.float32))
    params = nn.ParameterList([p, np.ones(3)])
    params.append([1.0, 2.0])
    params += [np.full(4, 2.0)]
    assert params[0] is p
    assert [n for n, _ in params.named_parameters()] == ["0", "1", "2", "3"]
    assert [q.size for q in params] == [2, 3, 2, 4]
    assert [q.size for q in params[1:3]] == [3, 2]
    params[1] = np.zeros(7)
    assert params[1].size == 7
    assert params.pop(0) is p
    assert [q.size for q in params.parameters()] == [7, 2, 4]
    with pytest.raises(GradError, match="only floating-point"):
        params.append(np.arange(3))


def test_parameter_dicts_are_dictionaries():
    params = nn.ParameterDict({"w": np.zeros(2)})
    params["b"] = [1.0]
    assert list(params.state_dict()) == list(params) == ["w", "b"]
    assert params["b"] is params.b
    assert params.get("x") is None
    del params["w"]
    assert [n for n, _ in params.named_parameters()] == ["b"]


def test_parameters_in_containers_belong_to_the_model():
    model = nn.Module()
    model.lists = nn.ModuleList([nn.ModuleDict({"a": nn.ParameterList([[1.0], [2.0]])})])
    assert [n for n, _ in model.named_parameters()] == ["lists.0.a.0", "lists.0.a.1"]


def test_neighbours_that_read_the_same_are_printed_once():
    blocks = nn.ModuleList([nn.Sequential(Times(1)), nn.Sequential(Times(1)), Times(2), Times(3)])
    expected = """\
ModuleList(
  (0-1): 2 x Sequential(
    (0): Times(1)
  )
  (2): Times(2)
  (3): Times(3)
)"""
    assert repr(blocks) == expected
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_parameters_are_printed_with_shape_and_dtype():
    expected = """\
ParameterDict(
  (w): Parameter of shape (2, 3), float64
)"""
    assert repr(nn.ParameterDict({"w": np.zeros((2, 3))})) == expected
    assert "(0): Parameter of shape (1,), float32" in repr(nn.ParameterList([[1.0]]))


def test_containers_do_not_run():
    with pytest.raises(TypeError, match=r"ModuleList has no forward\(\)"):
        nn.ModuleList()(1)
