"""Clipping, norms and observers under sharded training: the numbers and bits of zero=0."""

import math

import numpy as np
import pytest
from training import simulated
from zero_training import everywhere, prepared, sha256

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import GradError, NonFiniteError, ShapeError

NORMS = [0.5, 1.0, 2.0, 3.0, math.inf]
CLIPS = {
    f"clip_grad_norm_ p={p} max={most}": lambda m, p=p, most=most: dg.clip_grad_norm_(
        m.parameters(), most, p
    )
    for p in NORMS
    for most in (0.05, 1e9, math.inf)
}
CLIPS |= {
    f"get_total_norm p={p}": lambda m, p=p: optim.get_total_norm(
        (q.grad for q in m.parameters() if q.grad is not None), p
    )
    for p in NORMS
}
CLIPS |= {
    f"clip_layer_grad_norm_ p={p} by={by}": lambda m, p=p, by=by: optim.clip_layer_grad_norm_(
        m.named_parameters(), 0.02, p, by=by
    )
    for p in NORMS
    for by in ("layer", "parameter")
}
CLIPS |= {
    "of no parameters": lambda m: dg.clip_grad_norm_([], 1.0),
    "of those without gradients": lambda m: dg.clip_grad_norm_([m.never, m.still], 1.0),
    "of one parameter": lambda m: dg.clip_grad_norm_(m.narrow, 0.01),
    "of a small one": lambda m: dg.clip_grad_norm_([m.scale], 0.01),
    "of some": lambda m: dg.clip_grad_norm_([m.bias, m.wide, m.never], 0.01, 1.0),
    "norm of one": lambda m: optim.get_total_norm(m.wide.grad),
    "with a norm": lambda m: optim.clip_grads_with_norm_(m.parameters(), 0.1, 0.7),
    "by value": lambda m: optim.clip_grad_value_([m.wide, m.narrow, m.bias, m.scale], 1e-3),
    "AGC": lambda m: optim.adaptive_clip_grad_(m.parameters(), 0.02),
    "AGC of one": lambda m: optim.adaptive_clip_grad_(m.narrow, 1e-4),
    "nn.utils, norm": lambda m: bits(nn.utils.clip_grad_norm_(m.parameters(), 0.05)),
    "nn.utils, by its old name": lambda m: bits(nn.utils.clip_grad_norm([m.bias], 0.05, 1)),
    "nn.utils, with a norm": lambda m: nn.utils.clip_grads_with_norm_(m.wide, 0.1, dg.Tensor(0.7)),
    "nn.utils, by value": lambda m: nn.utils.clip_grad_value_([m.wide, m.scale], 1e-3),
    "nn.utils, total": lambda m: bits(
        nn.utils.get_total_norm(q.grad for q in (m.wide, m.bias, m.fine))
    ),
}


def bits(tensor):
    return str(tensor.dtype), tensor.array.tobytes()


def sgd(model):
    return optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def clipped(zero, clip, **settings):
    """Train, with ``clip(model)`` before each step, and return what it returned and the hashes."""
    t = prepared(zero, sgd, **settings)
    found = []
    for batch in t.batches():
        t.backward(batch)
        found.append(clip(t.model))
        t.step()
    return repr(found), t.hashes()


def in_turn(zero, names, bucket_mb):
    """Train an epoch with each of these, and return what each returned and the hashes after it."""
    t = prepared(zero, sgd, bucket_mb=bucket_mb)
    found = {}
    for name in names:
        returned = []
        for batch in t.batches():
            t.backward(batch)
            returned.append(CLIPS[name](t.model))
            t.step()
        found[name] = repr(returned), t.hashes()
    return found


# One training for many of them: making one takes longer than its steps.
TOGETHER = {
    family: [name for name in CLIPS if name.startswith(family)]
    for family in ("clip_grad_norm_", "get_total_norm", "clip_layer_grad_norm_", "nn.utils")
}
TOGETHER["others"] = [name for name in CLIPS if not name.startswith(tuple(TOGETHER))]


@pytest.mark.parametrize("bucket_mb", [0.04, 4.0])
@pytest.mark.parametrize("family", TOGETHER)
def test_clipping_has_the_numbers_and_bits_of_zero_0(family, bucket_mb):
    everywhere(lambda zero: in_turn(zero, TOGETHER[family], bucket_mb))


@pytest.fixture(scope="module")
def unclipped():
    """Return the hashes of a training without clipping."""
    (found,) = simulated(1, lambda: clipped(0, lambda model: None))
    return found[1]


@pytest.mark.parametrize("name", [n for n in CLIPS if "max=1000" not in n and "max=inf" not in n])
def test_each_of_them_changes_what_is_trained_or_measures(name, unclipped):
    (found,) = simulated(1, lambda: clipped(0, CLIPS[name]))
    if name in ("of no parameters", "of those without gradients"):
        assert found == ("[0.0, 0.0, 0.0]", unclipped)
    elif "total" in name or name == "norm of one":
        assert found[1] == unclipped
        assert "nan" not in found[0]
    else:
        assert found[1] != unclipped


def test_auto_clip_finds_the_same_limits_and_goes_on_from_its_state():
    def body(zero):
        first, second = (optim.AutoClip(40.0, history=2) for _ in range(2))

        def clip(model):
            second.load_state_dict(first.state_dict())
            found = second.max_norm, second(model.parameters())
            first.load_state_dict(second.state_dict())
            return found, first.state_dict()

        return clipped(zero, clip)

    everywhere(body)


# -- gradients that are not finite ----------------------------------------------------------------


def exploded(zero, clip):
    """Return what ``clip(model)`` makes of a gradient with an infinity in one element of many."""
    t = prepared(zero, sgd, nonfinite="continue")
    batch = next(iter(t.batches()))
    t.backward(batch)
    with t.ddp.summon_full_gradients():
        t.model.wide.grad.array[6, 2345] = np.inf
    return clip(t)


@pytest.mark.parametrize("norm_type", NORMS)
def test_a_norm_that_is_not_finite_is_refused_on_every_rank_and_nothing_is_changed(norm_type):
    def body(t):
        before = sha256([q.grad.array for q in whole(t)])
        for clip in (
            lambda: dg.clip_grad_norm_(t.model.parameters(), 1.0, norm_type, True),
            lambda: optim.get_total_norm([t.model.wide.grad], norm_type, True),
        ):
            with pytest.raises(NonFiniteError, match="norm is inf; lower the learning rate"):
                clip()
        with pytest.raises(NonFiniteError, match="the gradient norm of 'wide' is inf"):
            optim.clip_layer_grad_norm_(t.model.named_parameters(), 1.0, norm_type, True)
        assert sha256([q.grad.array for q in whole(t)]) == before
        return before

    everywhere(lambda zero: exploded(zero, body))


def whole(t):
    """Return parameters with copies of their whole gradients."""
    with t.ddp.summon_full_gradients():
        pairs = [(p, p.grad.array.copy()) for p in t.model.parameters() if p.grad is not None]
    found = []
    for p, gradient in pairs:
        found.append(nn.Parameter(np.zeros(p.shape, p.dtype)))
        found[-1].grad = dg.Tensor(gradient)
    return found


@pytest.mark.parametrize("clip", [dg.clip_grad_norm_, optim.adaptive_clip_grad_])
def test_an_infinite_norm_leaves_the_nans_of_zero_0(clip):
    def body(t):
        found = clip(t.model.parameters(), 0.1)
        return repr(found), sha256([q.grad.array for q in whole(t)])

    everywhere(lambda zero: exploded(zero, body))


def test_a_complex_gradient_is_not_clipped_by_value():
    def body(zero):
        with pytest.raises(ShapeError, match="complex64, and complex numbers have no order"):
            clipped(zero, lambda m: optim.clip_grad_value_(m.parameters(), 1e-3))
        return True

    everywhere(body)


# -- gradients by hand ----------------------------------------------------------------------------

READERS = {
    "array": lambda g: g.array,
    "data": lambda g: g.data,
    "numpy": lambda g: g.numpy(),
    "np.asarray": np.asarray,
    "item": lambda g: g.item(),
    "sum": lambda g: g.sum(),
    "abs": abs,
    "indexed": lambda g: g[0],
    "compared": lambda g: g == 0,
    "isnan": dg.isnan,
    "a product": lambda g: g * 2.0,
    "mul_": lambda g: g.mul_(0.5),
    "zero_": lambda g: g.zero_(),
    "set": lambda g: g.__setitem__(0, 1.0),
    "cloned": lambda g: g.clone(),
    "detached": lambda g: g.detach(),
    "total_norm": lambda g: optim.total_norm([g.array]),
}


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_a_gradient_in_parts_is_not_read_or_changed_whole(zero):
    def body():
        t = prepared(zero, sgd)
        t.backward(next(iter(t.batches())))
        return [name for name in READERS if not is_refused(READERS[name], t.model.narrow.grad)]

    assert simulated(2, body) == [[], []]


def is_refused(read, gradient):
    try:
        read(gradient)
    except GradError as error:
        return "with ddp.summon_full_gradients():" in str(error)
    return False


def test_scaling_by_hand_raises():
    def body():
        t = prepared(1, sgd)
        t.backward(next(iter(t.batches())))
        for p in (t.model.wide, t.model.scale):
            with pytest.raises(GradError, match=r"with ddp.summon_full_gradients\(\):"):
                p.grad *= 0.5
            with pytest.raises(GradError, match=r"with ddp.summon_full_gradients\(\):"):
                p.grad /= 2
            with pytest.raises(GradError, match=r"with ddp.summon_full_gradients\(\):"):
                p.grad.data *= 0.5

    simulated(2, body)


def halved_in_memory(p):
    p.grad.array *= 0.5


def halved_in_place(p):
    p.grad *= 0.5


def replaced(p):
    p.grad = dg.Tensor(p.grad.array * p.dtype.type(0.5))


@pytest.mark.parametrize("halve", [halved_in_memory, halved_in_place, replaced])
def test_scaling_inside_summon_full_gradients_has_the_bits_of_zero_0(halve):
    def body(zero):
        t = prepared(zero, sgd)
        seen = []
        for batch in t.batches():
            t.backward(batch)
            used = [p for p in t.model.parameters() if p.grad is not None]
            with t.ddp.summon_full_gradients():
                for p in used:
                    halve(p)
                seen.append(sha256([p.grad.array for p in used]))
            seen.append(dg.clip_grad_norm_(used, 0.05))
            t.step()
        return seen, t.hashes()

    everywhere(body)


def test_what_was_told_of_an_unfinished_batch_is_not_taken_for_the_next_ones():
    def body(zero):
        t = prepared(zero, sgd)
        seen = []
        for batch in t.batches():
            for share in t.ddp.shares.buckets if zero and seen else ():
                share.report.told[0] = True  # as an exception in the wait for the sums leaves it
                t.ddp.reducer._unfinished = True
            t.backward(batch)
            seen.append(dg.clip_grad_norm_(t.model.parameters(), 0.05))
            t.step()
        return seen, t.hashes()

    everywhere(body)


# -- observers ------------------------------------------------------------------------------------


def test_observers_see_whole_gradients():
    def body(zero):
        t = prepared(zero, sgd)
        health, noise = dg.GradientHealth(t.model, every=1), dg.GradientNoiseScale(t.model)
        for batch in t.batches(2):
            t.backward(batch)
            t.step()
            health.observe()
        norms = [health.gradient_norms, health.weight_norms, health.update_norms]
        return sha256(norms), health.report(), noise.state_dict(), t.hashes()

    everywhere(body)
