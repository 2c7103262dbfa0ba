"""Module: the walk over the tree, its switches, and how it prints."""

import copy
import pickle

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.errors import GradError


class Tied(nn.Module):
    """One weight under two names, one module under two names."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(3)
        self.again = self.norm


def names(pairs):
    return [n for n, _ in pairs]


def test_a_shared_parameter_is_listed_once_under_its_first_name():
    model = Tied()
    assert names(model.named_parameters()) == ["embedding.weight", "norm.weight", "norm.bias"]
    assert len(list(model.parameters())) == 3


def test_a_shared_parameter_is_in_the_state_under_both_names():
    state = Tied().state_dict()
    assert state["embedding.weight"].array is state["head.weight"].array
    assert {"norm.running_mean", "again.running_mean"} <= set(state)


def test_a_shared_module_and_its_buffers_are_walked_once():
    model = Tied()
    assert names(model.named_modules()) == ["", "embedding", "head", "norm"]
    assert names(model.named_buffers()) == [
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]


def test_sequential_applies_a_module_as_often_as_it_is_listed():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    twice = Double()
    assert nn.Sequential(twice, twice, twice)(3) == 24


def test_train_and_eval_reach_every_module_and_return_the_model():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2)))
    assert all(m.training for m in model.modules())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    assert all(m.training for m in model.modules())


def test_apply_visits_children_before_their_parent():
    seen = []
    model = nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.ReLU()))
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


def test_requires_grad_freezes_and_thaws_all_parameters():
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    assert model.requires_grad_(False) is model
    assert not any(p.requires_grad for p in model.parameters())
    model[1].requires_grad_()
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]


def test_zero_grad_forgets_all_gradients():
    model = nn.Linear(2, 1)
    model.weight.grad = Tensor(np.ones((1, 2), np.float32))
    model.zero_grad()
    assert model.weight.grad is None


def test_a_parameter_owns_its_memory_and_keeps_its_dtype():
    source = np.arange(6.0).reshape(2, 3)
    p = nn.Parameter(source.T)
    assert p.array.flags.c_contiguous
    assert p.dtype == np.float64
    assert p.requires_grad
    source[...] = 0
    assert p.array.max() == 5


def test_a_parameter_of_integers_is_refused():
    with pytest.raises(GradError, match="only floating-point tensors"):
        nn.Parameter(np.arange(3))
    assert not nn.Parameter(np.arange(3), requires_grad=False).requires_grad


def test_buffers_are_not_parameters():
    model = nn.BatchNorm2d(3)
    assert names(model.named_parameters()) == ["weight", "bias"]
    assert names(model.named_buffers()) == ["running_mean", "running_var", "num_batches_tracked"]


def test_a_replaced_buffer_stays_a_buffer():
    model = nn.BatchNorm1d(2)
    model.running_mean = Tensor(np.array([1.0, 2.0], np.float32))
    assert model.state_dict()["running_mean"].tolist() == [1, 2]


class Settings(nn.Module):
    def __init__(self, text, *children):
        super().__init__()
        self.text = text
        for i, child in enumerate(children):
            self.add_module(f"part{i}", child)

    def extra_repr(self):
        return self.text


def test_modules_print_as_a_tree():
    inner = Settings("a=1", Settings("b=2"), Settings("c=3\nd=4"))
    expected = """\
Sequential(
  (0): Settings(
    a=1
    (part0): Settings(b=2)
    (part1): Settings(
      c=3
      d=4
    )
  )
  (1): LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)
)"""
    assert repr(nn.Sequential(inner, nn.LayerNorm(3))) == expected
    assert repr(nn.Sequential()) == "Sequential()"


def test_a_deep_copy_shares_nothing():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.array[...] = 9
    assert not any((p.array == 9).any() for p in model.parameters())
    assert names(other.named_parameters()) == names(model.named_parameters())


def test_a_module_without_forward_says_so():
    class Nothing(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"Nothing has no forward\(\); define one"):
        Nothing()(1)


def test_a_module_that_forgot_super_says_so():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(TypeError, match=r"Forgetful.__init__ must call super\(\)"):
        Forgetful()(1)
    with pytest.raises(TypeError, match=r"Forgetful.__init__ must call super\(\)"):
        Forgetful().state_dict()


def test_train_goes_through_a_modules_own_train():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            return super().train(False)

    model = nn.Sequential(Frozen(nn.Dropout()), nn.Dropout())
    model.train()
    assert [m.training for m in model.modules()] == [True, False, False, True]


def test_float_and_double_convert_parameters_and_float_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert model.double() is model
    kinds = {n: str(a.dtype) for n, a in model.state_dict().items()}
    assert kinds.pop("1.num_batches_tracked") == "int64"
    assert set(kinds.values()) == {"float64"}
    assert {p.dtype.name for p in model.float().parameters()} == {"float32"}


def test_a_model_in_buckets_is_not_converted():
    model = nn.Linear(2, 2)
    model.weight._listener = object()
    with pytest.raises(GradError, match="'weight' lives in the buckets"):
        model.double()
    assert model.bias.dtype == np.float32


def test_a_parameter_takes_marks_and_copies_have_them():
    model = nn.Linear(3, 2)
    model.weight._no_weight_decay = True
    assert copy.deepcopy(model).weight._no_weight_decay
    assert pickle.loads(pickle.dumps(model)).weight._no_weight_decay
    assert not hasattr(model.bias, "_no_weight_decay")


def test_a_lazy_parameter_keeps_its_marks_when_it_gets_a_shape():
    model = nn.LazyLinear(2)
    model.weight.group = "slow"
    other = copy.deepcopy(model)
    for m in (model, other):
        m(dg.ones(4, 3))
        assert type(m.weight) is nn.Parameter
        assert m.weight.group == "slow"


@pytest.mark.parametrize("name", ["require_grad", "require_grads", "requires_grads"])
def test_a_misspelt_requires_grad_of_a_parameter_is_refused(name):
    p = nn.Parameter(dg.ones(3))
    with pytest.raises(AttributeError, match=rf"'{name}': did you mean requires_grad\?"):
        setattr(p, name, False)
    with pytest.raises(AttributeError, match=rf"'{name}': did you mean requires_grad\b"):
        getattr(p, name)
