"""Hooks around a module's call and on its gradients."""

from collections import namedtuple

import numpy as np
import pytest

from distgrad import GradError, Tensor, nn, no_grad
from distgrad.autograd import grad


class Scale(nn.Module):
    def forward(self, x, *, by=1.0):
        return x * by


class Two(nn.Module):
    """Two inputs, three outputs, of which one has no gradient."""

    def forward(self, a, b, label=None):
        return a * b, 3 * a, np.arange(3)


def tensor(*values):
    return Tensor(np.array(values), requires_grad=True)


def test_forward_hooks_see_and_replace_inputs_and_outputs_in_order():
    seen, model = [], Scale()
    model.register_forward_pre_hook(lambda m, args: seen.append(("pre", m, args)))
    model.register_forward_pre_hook(lambda m, args: args[0] + 1)
    model.register_forward_hook(lambda m, args, y: seen.append(("post", args, y)))
    model.register_forward_hook(lambda m, args, y: (y, "more"))
    model.register_forward_hook(lambda m, args, y: seen.append(y), prepend=True)
    assert model(2) == (3, "more")
    assert seen == [("pre", model, (2,)), 3, ("post", (3,), 3)]


def test_hooks_with_kwargs_see_and_replace_them():
    seen, model = [], Scale()
    model.register_forward_pre_hook(lambda m, a, k: (a, {"by": k["by"] * 10}), with_kwargs=True)
    model.register_forward_hook(lambda m, a, k, y: seen.append((a, k, y)), with_kwargs=True)
    assert model(2, by=3) == 60
    assert seen == [((2,), {"by": 30}, 60)]
    model.register_forward_pre_hook(lambda m, a, k: 5, with_kwargs=True)
    with pytest.raises(TypeError, match=r"None or \(args, kwargs\).*of Scale returned int"):
        model(2, by=3)


def test_a_removed_hook_is_not_called_and_a_module_without_hooks_has_none():
    seen, model = [], Scale()
    handle = model.register_forward_hook(lambda *a: seen.append(1))
    with model.register_forward_pre_hook(lambda *a: seen.append(2)):
        model(1)
    model(1)
    handle.remove()
    handle.remove()
    model(1)
    assert seen == [2, 1, 1]
    assert not model._hooks


def test_a_hook_may_remove_itself():
    model, seen = Scale(), []

    def once(*_):
        seen.append(1)
        handle.remove()

    handle = model.register_forward_hook(once)
    assert [model(1), model(1), seen] == [1, 1, [1]]


def test_always_called_hooks_run_after_an_error_and_only_once():
    seen, model = [], Scale()
    model.register_forward_hook(lambda m, a, y: seen.append("never"))
    model.register_forward_hook(lambda m, a, y: seen.append(y), always_call=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        model(1, wrong=2)
    assert seen == [None]
    model.register_forward_hook(lambda m, a, y: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        model(1)
    assert seen == [None, "never", 1]


def test_backward_hooks_see_this_calls_share_of_the_gradients():
    seen, model = [], Scale()
    model.register_full_backward_pre_hook(lambda m, out: seen.append([g.array for g in out]))
    model.register_full_backward_hook(
        lambda m, gin, gout: seen.append(([g.array for g in gin], [g.array for g in gout]))
    )
    x = tensor(1.0, 2.0)
    (np.sum(model(x, by=3.0)) * 2 + np.sum(x * 100)).backward()
    (before,), ((gin,), (gout,)) = seen
    np.testing.assert_array_equal(before, [2, 2])
    np.testing.assert_array_equal(gout, [2, 2])
    np.testing.assert_array_equal(gin, [6, 6])
    np.testing.assert_array_equal(x.grad.array, [106, 106])


def test_backward_hooks_replace_gradients_on_both_sides():
    model = Scale()
    model.register_full_backward_pre_hook(lambda m, out: (out[0] * 10,))
    model.register_full_backward_hook(lambda m, gin, gout: (gin[0] + gout[0],))
    x = tensor(1.0, 2.0)
    np.sum(model(x, by=3.0)).backward()
    np.testing.assert_array_equal(x.grad.array, [40, 40])


def test_gradients_stand_at_the_places_of_arguments_and_outputs():
    seen, model = [], Two()
    model.register_full_backward_hook(lambda m, *grads: seen.append(grads))
    a, b = tensor(1.0, 2.0, 3.0), tensor(4.0, 5.0, 6.0)
    product, _, label = model(a, b, "name")
    np.testing.assert_array_equal(label, [0, 1, 2])
    np.sum(product).backward()
    ((gin, gout),) = seen
    assert [g is None for g in gin] == [False, False, True]
    assert [g is None for g in gout] == [False, True, True]
    np.testing.assert_array_equal(gin[0].array, b.array)
    np.testing.assert_array_equal(b.grad.array, a.array)


def test_an_argument_that_needs_no_gradient_is_none_and_the_hook_still_runs():
    seen, layer = [], nn.Linear(2, 3)
    layer.register_full_backward_hook(lambda m, *grads: seen.append(grads))
    np.sum(layer(np.ones((4, 2), np.float32))).backward()
    ((gin, gout),) = seen
    assert gin == (None,)
    assert gout[0].shape == (4, 3)
    assert layer.weight.grad is not None


def test_a_module_called_twice_is_seen_twice_newest_first():
    seen, model = [], Scale()
    model.register_full_backward_hook(lambda m, gin, gout: seen.append(gin[0].item()))
    np.sum(model(model(tensor(1.0), by=2.0), by=5.0)).backward()
    assert seen == [5, 10]


def test_backward_hooks_leave_gradients_bit_equal():
    def gradients(hooked):
        rng = np.random.default_rng(0)
        model = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3))
        for p in model.parameters():
            p.array[...] = rng.normal(size=p.shape)
        if hooked:
            for m in model.modules():
                m.register_full_backward_hook(lambda *a: None)
        x = Tensor(rng.normal(size=(4, 5)).astype(np.float32), requires_grad=True)
        np.sum(model(x) * model(x)).backward()
        return [t.grad.array for t in (x, *model.parameters())]

    for a, b in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_gradients_pass_through_backward_hooks():
    model = Scale()
    model.register_full_backward_hook(lambda m, gin, gout: (gin[0] * 2,))
    x = tensor(3.0)
    (g,) = grad(np.sum(model(x * x * x)), [x], create_graph=True)
    np.testing.assert_allclose(g.array, 2 * 3 * 9.0)
    (h,) = grad(np.sum(g), [x])
    np.testing.assert_allclose(h.array, 2 * 6 * 3.0)


def test_without_recording_no_backward_hook_is_needed():
    model = Scale()
    model.register_full_backward_hook(lambda *a: 1 // 0)
    with no_grad():
        assert model(tensor(2.0), by=2.0).array == 4
    assert model(Tensor(np.ones(2)), by=2.0).array.tolist() == [2, 2]


def test_named_tuples_stay_named():
    pair = namedtuple("Pair", "y z")

    class Named(nn.Module):
        def forward(self, x):
            return pair(x * 2, x * 3)

    model = Named()
    model.register_full_backward_hook(lambda *a: None)
    assert type(model(tensor(1.0))) is pair


def test_what_a_backward_hook_cannot_do_is_refused():
    model = Scale()
    model.register_full_backward_hook(lambda m, gin, gout: (np.ones(3),))
    with pytest.raises(GradError, match=r"backward hook '<lambda>' of Scale returned .* shapes"):
        np.sum(model(tensor(1.0, 2.0))).backward()

    class Dictionary(nn.Module):
        def forward(self, x):
            return {"x": x}

    model = Dictionary()
    model.register_full_backward_hook(lambda *a: None)
    with pytest.raises(TypeError, match="Dictionary returned dict: register them on the modules"):
        model(tensor(1.0))


def test_backward_hooks_do_not_run_where_the_outputs_have_no_part():
    class Leaking(nn.Module):
        def forward(self, x):
            self.inner = x * 2
            return self.inner * 3

    seen, model = [], Leaking()
    model.register_full_backward_hook(lambda m, gin, gout: seen.append(gin))
    x = tensor(1.0)
    y = np.sum(model(x))
    inner = np.sum(model.inner)
    for root, calls in ((inner, 0), (y, 1), (inner, 1)):
        x.grad = None
        root.backward(retain_graph=True)
        assert len(seen) == calls
        assert x.grad.item() == (2 if root is inner else 6)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.ReLU(), ["x"]),
        (nn.Softmax(1), ["x"]),
        (nn.MaxPool1d(2), ["x"]),
        (nn.MSELoss(), ["input", "target"]),
    ],
)
def test_a_hook_may_keep_what_it_saw_under_any_name(module, names):
    inputs = [np.full((2, 3, 4), i, np.float32) for i, _ in enumerate(names)]

    def keep(module, seen, output):
        for name, value in zip(names, seen, strict=True):
            setattr(module, name, value)

    module.register_forward_hook(keep)
    np.testing.assert_array_equal(module(*inputs).array, module(*inputs).array)
