"""How modules learn of their parameters, buffers and submodules, and how these are found."""

import copy
import pickle

import numpy as np
import pytest

from distgrad import Tensor, nn


def parameter(*shape):
    return nn.Parameter(np.ones(shape, np.float32))


def buffer(*shape):
    return Tensor(np.ones(shape, np.float32))


def names(pairs):
    return [n for n, _ in pairs]


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", buffer(2))
        self.w = parameter(2)
        self.inner = nn.LayerNorm(2)
        self.register_buffer("cache", buffer(3), persistent=False)
        self.register_buffer("later", None)
        self.register_parameter("bias", None)
        self.v = parameter(3)


def test_walks_keep_the_order_of_registration_and_skip_none():
    model = Mixed()
    assert names(model.named_parameters()) == ["w", "v", "inner.weight", "inner.bias"]
    assert names(model.named_buffers()) == ["mask", "cache"]
    assert list(model.state_dict()) == ["w", "v", "mask", "inner.weight", "inner.bias"]


def test_a_place_kept_by_none_is_filled_where_it_is():
    model = Mixed()
    model.bias = parameter(1)
    model.later = buffer(4)
    assert names(model.named_parameters(recurse=False)) == ["w", "bias", "v"]
    assert names(model.named_buffers()) == ["mask", "cache", "later"]
    model.bias = None
    assert names(model.named_parameters(recurse=False)) == ["w", "v"]
    assert model.bias is None


def test_recurse_prefix_and_duplicates_can_be_chosen():
    model = nn.Sequential(Mixed(), nn.Identity())
    model.again = model[0]
    assert names(model[0].named_parameters("m", recurse=False)) == ["m.w", "m.v"]
    assert len(list(model.parameters())) == 4
    assert list(model.parameters(recurse=False)) == []
    every = names(model.named_parameters(remove_duplicate=False))
    assert every[:4] == ["0.w", "0.v", "0.inner.weight", "0.inner.bias"]
    assert every[4:] == [n.replace("0", "again") for n in every[:4]]
    assert names(model.named_modules("top")) == ["top", "top.0", "top.0.inner", "top.1"]
    assert names(model.named_modules(remove_duplicate=False))[-2:] == ["again", "again.inner"]
    assert [n for n, _ in model.named_children()] == ["0", "1"]
    assert len(list(model.buffers())) == 2
    assert next(iter(model.state_dict(prefix="net."))) == "net.0.w"


def test_a_buffer_that_is_not_persistent_is_not_saved_but_converted():
    model = Mixed()
    assert "cache" not in model.state_dict()
    assert model.double().cache.dtype == np.float64
    model.register_buffer("cache", buffer(3))
    assert "cache" in model.state_dict()


def test_another_kind_takes_its_place_at_the_end():
    model = Mixed()
    model.mask = parameter(2)
    assert names(model.named_parameters(recurse=False)) == ["w", "v", "mask"]
    model.w = nn.ReLU()
    assert names(model.named_parameters(recurse=False)) == ["v", "mask"]
    assert names(model.named_children()) == ["inner", "w"]


def test_deleted_attributes_are_forgotten():
    model = Mixed()
    del model.w, model.inner, model.cache
    assert names(model.named_parameters()) == ["v"]
    assert names(model.named_children()) == []
    model.w = 3  # now a plain attribute
    assert not hasattr(model, "inner")
    with pytest.raises(AttributeError):
        del model.inner


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "w",
            buffer(2),
            r"'w' of Mixed is a parameter: assign a Parameter or None, not Tensor",
        ),
        ("w", 3, r"'w' of Mixed is a parameter: .* not int"),
        ("inner", 3, r"'inner' of Mixed is a module: assign a Module or None, not int"),
        ("mask", np.ones(2), r"'mask' of Mixed is a buffer: assign a Tensor or None, not ndarray"),
    ],
)
def test_a_registered_name_refuses_other_values_and_keeps_its_own(name, value, message):
    model = Mixed()
    before = getattr(model, name)
    with pytest.raises(TypeError, match=message):
        setattr(model, name, value)
    assert getattr(model, name) is before


@pytest.mark.parametrize("value", [parameter(1), nn.ReLU()])
def test_assigning_before_super_init_says_so(value):
    class Early(nn.Module):
        def __init__(self):
            self.plain = 3  # harmless
            self.early = value
            super().__init__()

    with pytest.raises(TypeError, match=r"Early.__init__ must call super\(\).__init__\(\) before"):
        Early()


@pytest.mark.parametrize("register", ["register_parameter", "register_buffer", "add_module"])
def test_names_that_cannot_be_are_refused(register):
    model = Mixed()
    call = getattr(model, register)
    for name in ("", "a.b"):
        with pytest.raises(KeyError, match="is not empty and has no dot"):
            call(name, None)
    with pytest.raises(KeyError, match="Mixed has an attribute 'forward' already"):
        call("forward", None)
    with pytest.raises(TypeError, match="is a string; got 3"):
        call(3, None)
    with pytest.raises(TypeError, match=r"'x' must be a [A-Z]\w+ or None; got int"):
        call("x", 3)
    assert not hasattr(model, "x")


def test_what_has_a_dotted_name_is_found_by_it():
    model = nn.Sequential(Mixed(), nn.BatchNorm1d(2))
    assert model.get_submodule("") is model
    assert model.get_submodule("0.inner") is model[0].inner
    assert model.get_parameter("0.inner.weight") is model[0].inner.weight
    assert model.get_buffer("1.running_mean") is model[1].running_mean
    with pytest.raises(AttributeError, match=r"no submodule '0.outer'.*Mixed has.*\['inner'\]"):
        model.get_submodule("0.outer")
    with pytest.raises(AttributeError, match=r"no parameter '0.mask'; '0' has \['w', 'v'\]"):
        model.get_parameter("0.mask")
    with pytest.raises(AttributeError, match=r"no buffer '0.later'"):
        model.get_buffer("0.later")


def test_copies_and_pickles_are_whole_models():
    model = Mixed()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert names(other.named_parameters()) == names(model.named_parameters())
        other.v = None
        assert model.v is not None
        assert "cache" not in other.state_dict()


def test_loading_returns_the_names_that_do_not_fit():
    model = nn.Linear(2, 2)
    found = model.load_state_dict({"weight": np.zeros((2, 2)), "extra": 1}, strict=False)
    assert found == (["bias"], ["extra"])
    assert (found.missing_keys, found.unexpected_keys) == (["bias"], ["extra"])
    assert repr(model.load_state_dict(model.state_dict())) == "<All keys matched successfully>"


def test_a_shared_parameter_is_loaded_from_either_name():
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3, bias=False))
    model[1].weight = model[0].weight
    for name in ("0.weight", "1.weight"):
        value = np.arange(6.0).reshape(3, 2) + len(name)
        found = model.load_state_dict({name: value})
        assert found.missing_keys == []
        np.testing.assert_array_equal(model[0].weight.array, value)
