"""Lines that PyTorch's users write, run as they stand with both: the same values and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import torch

import distgrad as dg

X = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
Y = X[::-1].copy()
LABELS = np.array([1, 0, 3, 2])

LINES = """
x.max(dim=1)[1].eq(l).sum().item()
(x.argmax(1) == l).float().mean().item()
x.topk(2, 1, True, True)[1].t()
x.topk(2)[0].sum()
torch.sum(x, -1, keepdim=True)
x.sum([0, 1])
x.mean((0, 1), keepdim=True)
x.std(dim=0, unbiased=False)
x.var(-1, keepdim=True, unbiased=False)
x.norm(2, dim=-1, keepdim=True)
torch.norm(x, dim=1)
torch.norm(x, p=1)
x.norm()
x.pow(2).sum(dim=1).sqrt()
x.abs().max()
x.abs().max().item()
float(x.sum(dim=(0, 1), keepdim=True))
int(x[:1, 0].abs() * 100)
torch.max(x, 1)[0]
torch.max(x, dim=1, keepdim=True).values
torch.max(x, y)
torch.min(x)
torch.clamp(x, min=0, max=0.5)
x.clamp(min=0)
x.clamp_(0, 1)
torch.where(x > 0, x, torch.zeros_like(x))
torch.where(x > 0, x, 0.)
torch.where(x > 0)
x.masked_fill(x > 0, float("-inf")).softmax(dim=-1)
torch.softmax(x, dim=-1)
torch.sum(x, axis=1, keepdims=True)
torch.argmax(x, axis=1)
torch.max(x, axis=1)
torch.softmax(x, axis=-1)
torch.std(x, axis=0)
torch.log_softmax(x, -1)
x.log_softmax(1)
torch.exp(x) / torch.exp(x).sum(1, keepdim=True)
torch.logsumexp(x, 1)
x.round(decimals=2)
torch.round(x)
x.sign() * x.abs().sqrt()
torch.cumsum(x, dim=0)
x.cumprod(1)
x.sort(descending=True)[0]
torch.sort(x, 1, True)[1]
x.argsort(dim=-1, descending=True)
x.unique()
torch.unique(l, return_counts=True)
x.median()
torch.median(x, 1)
x.quantile(0.25)
torch.quantile(x, torch.tensor([0.1, 0.9]), dim=0)
torch.allclose(x, x)
torch.equal(x, y)
torch.isnan(x).any()
torch.isfinite(x).all()
x.isnan().sum().item()
(x > 0).sum(1)
(x > 0).long().cumsum(0)
(x > 0) & (y < 0)
~(x > 0)
(x > 0).any(dim=1)
(x > 0).all()
torch.bincount(l, minlength=6)
torch.eq(l, 2)
l.type(torch.float32)
l.float() / 3
l.to(torch.float64)
x.to(y)
x.double().dtype == torch.float64
x.type_as(l)
x.int()
x.new_zeros(3, 2)
x.new_full((2,), 1.5)
torch.full_like(x, 2)
x.element_size() * x.nelement()
x.stride()
x.is_contiguous()
x.t().is_contiguous()
x.t().contiguous().view(-1)
x.numel()
x.size(0)
x.shape[1]
x.tolist()
x.detach().clone().requires_grad_().requires_grad
x.add(y, alpha=2)
torch.add(x, 1)
torch.mul(x, 2.0)
torch.div(x, y, rounding_mode="floor")
x.div(3).floor()
x.remainder(2)
x % 2
x // 2
2 ** x
torch.pow(2, x)
torch.rsqrt(x.abs())
x.abs().rsqrt()
torch.reciprocal(x)
torch.atan2(x, y)
torch.tanh(x).tanh_()
torch.sigmoid(x)
x.sigmoid().log()
torch.relu(x)
x.relu()
torch.erf(x)
torch.lerp(x, y, 0.3)
torch.addcmul(x, x, y, value=0.1)
torch.addcdiv(x, x, y.abs() + 1, value=0.1)
torch.diff(x)
torch.trapz(x, dim=0)
torch.searchsorted(torch.tensor([0., 1., 2.]), x)
torch.bucketize(x, torch.tensor([-1., 0., 1.]))
torch.histc(x, bins=4, min=-1, max=1)
torch.kthvalue(x, 2)
torch.mode(l)
torch.nansum(x)
torch.nan_to_num(x, nan=0.0)
torch.aminmax(x)
torch.amax(x, (0, 1))
torch.count_nonzero(x > 0)
torch.prod(x, 1)
torch.std_mean(x, dim=1)
torch.var(x, 0, False)
torch.argmin(x)
torch.arange(6).float().mean()
torch.isin(l, torch.tensor([1, 2]))
torch.logical_and(x > 0, y > 0)
torch.bitwise_xor(l, l + 1)
l << 1
l & 1
l.bitwise_and(3)
torch.result_type(x, 1.0) == torch.float32
torch.can_cast(torch.float32, torch.int64)
torch.complex(x, y).abs()
torch.view_as_real(torch.complex(x, y)).shape
torch.polar(x.abs(), y).real
torch.floor_divide(l, 2)
torch.true_divide(x, 2)
torch.heaviside(x, torch.tensor(0.5))
x.fill_(0.5).sum()
x.zero_().sum()
x.copy_(y).mean()
x.mul_(2).add_(1).sum()
x.sub_(y, alpha=0.5).sum()
x.exp_().sum()
x.neg().abs_().sum()
torch.stack([x, y]).mean(0)
torch.sum(x.gt(0).float())
x.gt(0).sum()
x.ge(0).type(torch.float32).mean()
float(x.sum()), int(l.sum())
round(x.sum().item(), 3)
x.mean().item()
f"{x.mean():.4f}"
x.unsqueeze(0).squeeze(0).shape
x.expand(2, 4, 5).shape
x.permute(1, 0).shape
x.view(2, -1).shape
x.is_floating_point()
x.device.type
x.is_cuda
x.cpu().numpy().shape
x.data.norm().item()
x.min(), x.max()
x.logical_not()
x.cummax(0).values
x.frac()
x.trunc()
x.float().half().dtype == torch.float16
x.mean(dtype=torch.float64)
x.sum(dtype=torch.float64)
x.sum(1, dtype=torch.float64)
x.prod(0)
x.any()
x.std().item()
torch.empty_like(x).copy_(x).sum()
torch.max(l)
x.sum() / l.size(0)
torch.sqrt(torch.mean(torch.square(x - y)))
x.var(unbiased=False)
torch.log1p(x.abs()).expm1()
torch.clip(x, -1, 1)
torch.fmod(x, 0.5)
torch.gcd(l + 1, torch.tensor(6))
torch.logit(torch.sigmoid(x))
torch.sinc(x)
torch.hypot(x, y)
torch.deg2rad(x)
torch.xlogy(x.abs(), y.abs())
x.mean(-1, True)
x.softmax(-1, dtype=torch.float64)
x.all(-1)
x ** 2
x.min(dim=1).values
x[0].dot(y[0])
l.max(dim=0)[0]
""".strip().splitlines()


def run(line, library):
    names = {"x": X, "y": Y, "l": LABELS}
    tensors = {name: library.tensor(array.copy()) for name, array in names.items()}
    return parts(eval(line, {"torch": library, **tensors}))


def parts(result):
    if isinstance(result, torch.Tensor | dg.Tensor):
        return [result.detach().numpy()]
    if isinstance(result, tuple | list) and not all(isinstance(n, int) for n in result):
        return [part for r in result for part in parts(r)]
    return [np.asarray(result)]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_pytorchs_gives_what_pytorch_gives(line):
    found, wanted = run(line, dg), run(line, torch)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        if a.dtype.kind in "fc":
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(a, b)
