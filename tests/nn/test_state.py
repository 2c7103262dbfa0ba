"""state_dict: PyTorch's names, order, shapes and dtypes, and what loading refuses."""

import numpy as np
import pytest

from distgrad import Tensor, manual_seed, nn
from distgrad.errors import ShapeError


class Block(nn.Module):
    """Every kind of member: own parameters between modules, a list, a buffer, a missing bias."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.scale = nn.Parameter(np.ones(4, np.float32))
        self.norms = nn.ModuleList([nn.LayerNorm(4), nn.LayerNorm((2, 4), bias=False)])
        self.register_buffer("mask", Tensor(np.tril(np.ones((2, 2), np.float32))))
        self.last = nn.Linear(4, 2, bias=False)


def cnn():
    return nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), groups=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(6, 2, 1, bias=False), nn.BatchNorm2d(2)),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def tokens():
    return nn.Sequential(nn.Embedding(7, 5), nn.LayerNorm(5), nn.Dropout(0.1), nn.Linear(5, 7))


NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]

# As torch.nn's modules of the same name and arguments list them.
EXPECTED = {
    "block": (
        Block,
        [
            ("scale", (4,), "float32"),
            ("mask", (2, 2), "float32"),
            ("first.weight", (4, 3), "float32"),
            ("first.bias", (4,), "float32"),
            ("norms.0.weight", (4,), "float32"),
            ("norms.0.bias", (4,), "float32"),
            ("norms.1.weight", (2, 4), "float32"),
            ("last.weight", (2, 4), "float32"),
        ],
    ),
    "cnn": (
        cnn,
        [
            ("0.weight", (6, 2, 3, 2), "float32"),
            ("0.bias", (6,), "float32"),
            *[(f"1.{n}", (6,), "float32") for n in NORM[:-1]],
            ("1.num_batches_tracked", (), "int64"),
            ("3.0.weight", (2, 6, 1, 1), "float32"),
            *[(f"3.1.{n}", (2,), "float32") for n in NORM[:-1]],
            ("3.1.num_batches_tracked", (), "int64"),
            ("5.weight", (3, 8), "float32"),
            ("5.bias", (3,), "float32"),
        ],
    ),
    "tokens": (
        tokens,
        [
            ("0.weight", (7, 5), "float32"),
            ("1.weight", (5,), "float32"),
            ("1.bias", (5,), "float32"),
            ("3.weight", (7, 5), "float32"),
            ("3.bias", (7,), "float32"),
        ],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_names_order_shapes_and_dtypes_are_pytorchs(name):
    make, expected = EXPECTED[name]
    found = [(n, a.shape, str(a.dtype)) for n, a in make().state_dict().items()]
    assert found == expected


def numbered(state):
    """The same names and shapes with values that depend on name and place."""
    arrays = {}
    for i, (name, a) in enumerate(state.items()):
        arrays[name] = (np.arange(a.size).reshape(a.shape) + 100 * i).astype(a.dtype)
    return arrays


def test_what_is_loaded_is_what_comes_out():
    model = cnn()
    state = numbered(model.state_dict())
    model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)
    np.testing.assert_array_equal(model[0].weight.array, state["0.weight"])
    np.testing.assert_array_equal(model[1].running_var.array, state["1.running_var"])


def test_loading_copies_and_keeps_the_parameters_memory():
    model = nn.Linear(3, 2)
    before = model.weight.array
    state = numbered(model.state_dict())
    model.load_state_dict(state)
    assert model.weight.array is before
    state["weight"][...] = -1
    assert model.weight.array.min() == 0


def test_the_state_holds_the_live_arrays():
    model = nn.Linear(3, 2)
    state = model.state_dict()
    model.weight.array[...] = 5
    assert (state["weight"] == 5).all()


def test_tensors_and_wider_floats_can_be_loaded():
    model = nn.Linear(3, 2)
    weight = np.arange(6.0).reshape(2, 3) / 8
    model.load_state_dict({"weight": nn.Parameter(weight), "bias": Tensor(np.array([1.0, 2.0]))})
    np.testing.assert_array_equal(model.weight.array, weight)
    assert model.weight.dtype == np.float32
    assert model.bias.array.tolist() == [1, 2]


def missing(state):
    del state["5.bias"]
    return r"missing \['5.bias'\], unexpected nothing; pass strict=False"


def unexpected(state):
    state["6.weight"] = np.zeros(2)
    return r"missing nothing, unexpected \['6.weight'\]"


def another_shape(state):
    state["5.weight"] = state["5.weight"].T
    return r"'5.weight' has shape \(3, 8\) in the model and \(8, 3\) in the state"


def another_kind(state):
    state["1.num_batches_tracked"] = np.array(1.5)
    return r"'1.num_batches_tracked' is int64 in the model and float64 in the state"


def complex_numbers(state):
    state["5.bias"] = state["5.bias"].astype(np.complex64)
    return r"'5.bias' is float32 in the model and complex64"


@pytest.mark.parametrize(
    "damage", [missing, unexpected, another_shape, another_kind, complex_numbers]
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(damage):
    model = cnn()
    state = numbered(model.state_dict())
    message = damage(state)
    before = {n: a.copy() for n, a in model.state_dict().items()}
    with pytest.raises(ShapeError, match=message):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_the_first_misfit_in_the_models_order_is_named():
    model = cnn()
    state = {n: np.zeros((9, 9)) for n in reversed(model.state_dict())}
    with pytest.raises(ShapeError, match=r"^'0.weight'"):
        model.load_state_dict(state)


def test_without_strict_what_fits_is_loaded():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    second = model[1].weight.array.copy()
    model.load_state_dict({"0.weight": np.full((2, 2), 7.0), "9.bias": np.ones(3)}, strict=False)
    assert (model[0].weight.array == 7).all()
    np.testing.assert_array_equal(model[1].weight.array, second)


def test_without_strict_another_shape_is_still_refused():
    with pytest.raises(ShapeError, match="'bias' has shape"):
        nn.Linear(2, 2).load_state_dict({"bias": np.ones(3)}, strict=False)


def test_the_sha_depends_on_names_and_bytes_and_not_on_order():
    state = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.float32)}
    sha = nn.state_sha256(state)
    assert sha == nn.state_sha256(dict(reversed(state.items())))
    assert sha != nn.state_sha256({"b": state["b"], "c": state["a"]})
    assert sha != nn.state_sha256({"b": state["b"] + np.float32(1e-7), "a": state["a"]})
    strided = {"b": np.arange(6, dtype=np.float32)[::2] / 2, "a": state["a"].T}
    assert sha == nn.state_sha256(strided)


def test_equal_seeds_make_equal_models():
    def sha(seed):
        manual_seed(seed)
        return nn.state_sha256(cnn().state_dict())

    assert sha(3) == sha(3)
    assert sha(3) != sha(4)


def test_a_state_whose_names_have_a_prefix_says_how_to_take_it_off():
    model = cnn()
    state = {f"module.{n}": a for n, a in numbered(model.state_dict()).items()}
    with pytest.raises(ShapeError, match=r"begin with 'module\.': load .*removeprefix"):
        model.load_state_dict(state)
    model.load_state_dict({n.removeprefix("module."): a for n, a in state.items()})


def test_a_state_of_a_part_says_which_part_takes_it():
    outer = nn.ModuleDict({"net": cnn()})
    with pytest.raises(ShapeError, match=r"names begin with 'net\.': .* into model\.net$"):
        outer.load_state_dict(numbered(cnn().state_dict()))


def test_of_many_names_the_first_are_shown_and_the_others_counted():
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(9)))
    with pytest.raises(ShapeError, match=r"\['0.weight', .*'2.bias'\] and 12 more, unexpected"):
        model.load_state_dict({})
