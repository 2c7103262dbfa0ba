"""Losses beside PyTorch's: value, gradient and second gradient in every setting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import ops
from distgrad.nn import functional as F

TF = torch.nn.functional
OPS = {
    "mse": (ops.mse, TF.mse_loss),
    "huber": (ops.huber, TF.huber_loss),
    "binary_cross_entropy": (ops.binary_cross_entropy, TF.binary_cross_entropy),
    "binary_cross_entropy_with_logits": (
        ops.binary_cross_entropy_with_logits,
        TF.binary_cross_entropy_with_logits,
    ),
    "hinge_embedding": (ops.hinge_embedding, TF.hinge_embedding_loss),
    "kl_div": (ops.kl_div, TF.kl_div),
    "margin_ranking": (ops.margin_ranking, TF.margin_ranking_loss),
    "poisson_nll": (ops.poisson_nll, TF.poisson_nll_loss),
    "soft_margin": (ops.soft_margin, TF.soft_margin_loss),
    "nll": (ops.nll, TF.nll_loss),
    "multi_margin": (ops.multi_margin, TF.multi_margin_loss),
    "multilabel_margin": (ops.multilabel_margin, TF.multilabel_margin_loss),
    "cross_entropy": (ops.cross_entropy, TF.cross_entropy),
}
reductions = st.sampled_from(["mean", "sum", "none"])


def values(shape, dtype="float64", low=-2.0, high=2.0):
    """Draw an array; one without axes keeps none in any layout."""
    return array(shape, dtype, low, high).map(lambda x: x.reshape(shape))


def constant(f, x):
    """Return an array as a constant of either library, in PyTorch's precision there."""
    if f is F:
        return x
    x = np.array(x, np.float64 if x.dtype.kind == "f" else x.dtype)
    return torch.from_numpy(x)


def compare(call, inputs, **how):
    """Check ``call(f, *inputs)`` for both libraries' functionals ``f``."""
    check(lambda *x: call(F, *x), lambda *x: call(TF, *x), inputs, **how)


PAIRS = {
    "mse_loss": [{}],
    "l1_loss": [{}],
    "smooth_l1_loss": [{}, {"beta": 0.3}, {"beta": 0.0}],
    "huber_loss": [{}, {"delta": 0.3}, {"delta": 2.5}],
    "kl_div": [{"log_target": True}],
    "binary_cross_entropy_with_logits": [{}],
    "poisson_nll_loss": [{}],
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
@pytest.mark.parametrize("name", PAIRS)
@drawn
@given(data=st.data())
def test_losses_of_two_alike(name, data):
    shape, dtype = data.draw(shapes(min_side=0)), data.draw(dtypes)
    x, y = (data.draw(values(shape, dtype)) for _ in range(2))
    settings = {**data.draw(st.sampled_from(PAIRS[name])), "reduction": data.draw(reductions)}
    # The second gradient of |x| is nothing at all in PyTorch.
    second = name != "l1_loss" and settings.get("beta") != 0
    compare(lambda f, a, b: getattr(f, name)(a, b, **settings), [x, y], second=second)


@drawn
@given(data=st.data())
def test_kl_div_of_probabilities_and_its_batchmean(data):
    shape, dtype = data.draw(shapes(least=1, min_side=1)), data.draw(dtypes)
    x, t = data.draw(values(shape, dtype)), data.draw(values(shape, dtype, low=0.1))
    log_target = data.draw(st.booleans())
    compare(lambda f, a, b: f.kl_div(a, b, reduction="batchmean", log_target=log_target), [x, t])
    # PyTorch's gradient to a target of 0 is NaN: it is a constant here.
    t = np.where(t > 1, t, 0).astype(dtype)
    compare(lambda f, a: f.kl_div(a, constant(f, t), reduction="sum"), [x])


@drawn
@given(data=st.data())
def test_poisson_nll_loss(data):
    shape, dtype = data.draw(shapes()), data.draw(dtypes)
    x, y = data.draw(values(shape, dtype, low=0.3)), data.draw(values(shape, dtype, low=0, high=6))
    full, reduction = data.draw(st.booleans()), data.draw(reductions)
    settings = {"log_input": data.draw(st.booleans()), "full": full, "reduction": reduction}
    compare(lambda f, a: f.poisson_nll_loss(a, constant(f, y), **settings), [x])
    if not full:
        compare(lambda f, a, b: f.poisson_nll_loss(a, b, **settings), [x, y])


@drawn
@given(data=st.data())
def test_gaussian_nll_loss(data):
    shape, dtype = data.draw(shapes(least=1)), data.draw(dtypes)
    x, y = (data.draw(values(shape, dtype)) for _ in range(2))
    of_var = data.draw(st.sampled_from([shape, shape[:-1], (*shape[:-1], 1)]))
    settings = {"full": data.draw(st.booleans()), "reduction": data.draw(reductions)}
    # Half of the variances are below the limit; the slope there is PyTorch's own choice.
    v = data.draw(values(of_var, dtype, low=0.1))
    settings["eps"] = data.draw(st.sampled_from([1e-6, 0.8]))
    compare(lambda f, *a: f.gaussian_nll_loss(*a, **settings), [x, y, v])


@drawn
@given(data=st.data())
def test_binary_cross_entropies_with_weights(data):
    shape, dtype = data.draw(shapes(least=1)), data.draw(dtypes)
    x, p = data.draw(values(shape, dtype)), data.draw(values(shape, dtype, 0.1, 0.9))
    t = data.draw(values(shape, dtype, 0, 1))
    weight = data.draw(st.none() | values(shape[-1:], dtype, 0, 2))
    positive = data.draw(st.none() | values(shape[-1:], dtype, 0.5, 3))
    reduction = data.draw(reductions)

    def with_logits(f, a, b):
        more = {} if positive is None else {"pos_weight": constant(f, positive)}
        return f.binary_cross_entropy_with_logits(
            a, b, None if weight is None else constant(f, weight), reduction=reduction, **more
        )

    compare(with_logits, [x, t])
    compare(
        lambda f, a, b: f.binary_cross_entropy(
            a, b, None if weight is None else constant(f, weight), reduction=reduction
        ),
        [p, t],
    )


def test_binary_cross_entropy_of_certainty_is_limited_and_finite():
    p, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    compare(
        lambda f, a: f.binary_cross_entropy(a, constant(f, t), reduction="none"),
        [p],
        second=False,
        rtol=1e-8,  # PyTorch's 1e-12 is a float32
    )


SIGNS = {
    "soft_margin_loss": [{}],
    "hinge_embedding_loss": [{}, {"margin": 0.3}],
}


@pytest.mark.parametrize("name", SIGNS)
@drawn
@given(data=st.data())
def test_losses_with_targets_of_1_and_minus_1(name, data):
    shape, dtype = data.draw(shapes()), data.draw(dtypes)
    x = data.draw(values(shape, dtype))
    y = np.where(data.draw(values(shape)) > 0, 1, -1).astype(
        data.draw(st.sampled_from(["i8", dtype]))
    )
    settings = {**data.draw(st.sampled_from(SIGNS[name])), "reduction": data.draw(reductions)}
    compare(lambda f, a: getattr(f, name)(a, constant(f, y), **settings), [x])


def classes(data):
    """Draw logits (n, c, …) or (c), labels some of which are ignored, class weights, settings."""
    places = data.draw(shapes(least=0, most=2, max_side=3))
    n, c = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 4))
    dtype = data.draw(dtypes)
    single = data.draw(st.integers(0, 4)) == 0
    x = data.draw(values((c,) if single else (n, c, *places), dtype))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    labels = rng.integers(0, c, () if single else (n, *places))
    ignored = data.draw(st.sampled_from([-100, -1, c - 1]))
    labels = np.asarray(np.where(rng.random(labels.shape) < 0.2, ignored, labels))
    weight = data.draw(st.none() | values((c,), dtype, 0.2, 2))
    return x, labels, weight, {"ignore_index": ignored, "reduction": data.draw(reductions)}


@drawn
@given(data=st.data())
def test_cross_entropy_and_nll_of_labels(data):
    x, labels, weight, settings = classes(data)
    smoothing = data.draw(st.sampled_from([0.0, 0.1, 1.0]))

    def given_weight(f):
        return None if weight is None else constant(f, weight)

    compare(
        lambda f, a: f.cross_entropy(
            a, constant(f, labels), given_weight(f), label_smoothing=smoothing, **settings
        ),
        [x],
    )
    compare(lambda f, a: f.nll_loss(a, constant(f, labels), given_weight(f), **settings), [x])


@drawn
@given(data=st.data())
def test_cross_entropy_of_probabilities(data):
    x, _, weight, settings = classes(data)
    t = data.draw(values(x.shape, x.dtype.name, 0, 1))
    smoothing = data.draw(st.sampled_from([0.0, 0.1]))
    compare(
        lambda f, a, b: f.cross_entropy(
            a,
            b,
            None if weight is None else constant(f, weight),
            reduction=settings["reduction"],
            label_smoothing=smoothing,
        ),
        [x, t],
    )


def composed_multi_margin(x, y, p, margin, weight):
    """PyTorch's own has no second derivative."""
    own = x.gather(-1, y[..., None])
    terms = (margin - own + x).clamp_min(0) ** p
    terms = terms * (1 - TF.one_hot(y, x.shape[-1]))
    loss = terms.sum(-1) / x.shape[-1]
    return loss if weight is None else loss * weight[y]


@drawn
@given(data=st.data())
def test_multi_margin_loss(data):
    dtype, n, c = data.draw(dtypes), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    lead = data.draw(st.sampled_from([(), (n,)]))
    x = data.draw(values((*lead, c), dtype))
    y = np.asarray(np.random.default_rng(n).integers(0, c, lead))
    weight = data.draw(st.none() | values((c,), dtype, 0.2, 2))
    p, margin = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([1.0, 0.3]))
    reduction = data.draw(reductions)

    def call(f, a):
        w = None if weight is None else constant(f, weight)
        return f.multi_margin_loss(a, constant(f, y), p, margin, w, reduction=reduction)

    compare(call, [x], second=False)
    check(
        lambda a: F.multi_margin_loss(a, y, p, margin, weight, reduction="none"),
        lambda a: composed_multi_margin(
            a, constant(TF, y), p, margin, None if weight is None else constant(TF, weight)
        ),
        [x],
    )


@drawn
@given(data=st.data())
def test_multilabel_losses(data):
    dtype, n, c = data.draw(dtypes), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    lead = data.draw(st.sampled_from([(), (n,)]))
    x, t = data.draw(values((*lead, c), dtype)), data.draw(values((*lead, c), dtype, 0, 1))
    y = np.asarray(np.random.default_rng(n).integers(-1, c, (*lead, c)))
    weight = data.draw(st.none() | values((c,), dtype, 0.2, 2))
    reduction = data.draw(reductions)
    compare(
        lambda f, a: f.multilabel_margin_loss(a, constant(f, y), reduction=reduction),
        [x],
        second=False,  # PyTorch has none
    )
    compare(
        lambda f, a, b: f.multilabel_soft_margin_loss(
            a, b, None if weight is None else constant(f, weight), reduction=reduction
        ),
        [x, t],
    )
