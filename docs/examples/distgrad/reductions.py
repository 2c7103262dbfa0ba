"""Examples of distgrad's functions that sum, sort, compare and count."""

import numpy as np

import distgrad as dg

x = dg.tensor([[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]])
v = dg.tensor([3.0, 1.0, 2.0, 1.0])
gaps = dg.tensor([1.0, np.nan, 3.0])

# Examples

dg.all(x > 1, dim=1)

dg.allclose(x, x + 1e-9)

dg.amax(x, dim=1)

dg.amin(x, dim=1)

dg.aminmax(x, dim=0)

dg.any(x > 5)

dg.argmax(x, dim=1)

dg.argmin(x, dim=1)

dg.argsort(x, dim=1)

dg.bincount(dg.tensor([0, 1, 1, 3]))

dg.bucketize(dg.tensor([0.5, 2.5]), dg.tensor([1.0, 2.0, 3.0]))

dg.can_cast(dg.float64, dg.float32)

dg.corrcoef(x)

dg.count_nonzero(x > 2)

dg.cov(x)

dg.cummax(v, dim=0)

dg.cummin(v, dim=0)

dg.cumprod(v, dim=0)

dg.cumsum(x, dim=1)

dg.cumulative_trapezoid(v)

dg.diff(v)

dg.dist(v, dg.zeros(4), p=2)

dg.equal(v, v.clone())

dg.gradient(dg.tensor([1.0, 4.0, 9.0]))

dg.histc(v, bins=3, min=1, max=3)

dg.histogram(v, bins=2)

dg.histogramdd(x.T, bins=[2, 2])

dg.is_complex(v)

dg.is_conj(v)

dg.is_floating_point(v)

dg.is_inference(v)

dg.is_neg(v)

dg.is_nonzero(dg.tensor([2.0]))

dg.is_same_size(v, dg.zeros(4))

dg.is_signed(v)

dg.is_tensor(v)

dg.kthvalue(v, 2)

dg.log_softmax(x, dim=1)

dg.logcumsumexp(v, dim=0)

dg.logsumexp(x, dim=1)

dg.max(x, dim=1)

dg.mean(x, dim=0)

dg.median(v)

dg.min(x, dim=1)

dg.mode(v)

dg.msort(x)

dg.nanmean(gaps)

dg.nanmedian(gaps)

dg.nanquantile(gaps, 0.5)

dg.nansum(gaps)

dg.norm(v)

dg.prod(x, dim=1)

dg.promote_types(dg.int32, dg.float32)

dg.quantile(v, dg.tensor([0.25, 0.5]))

dg.renorm(x, p=2, dim=0, maxnorm=1.0)

dg.result_type(dg.tensor([1, 2]), 1.0)

dg.searchsorted(dg.tensor([1.0, 2.0, 3.0]), dg.tensor([2.0, 2.5]), right=True)

dg.softmax(x, dim=1)

dg.sort(x, dim=1, descending=True)

dg.std(x, dim=1)

dg.std_mean(x, dim=1)

dg.sum(x, dim=1)

dg.topk(v, 2)

dg.trapezoid(v, dx=0.5)

dg.trapz(v)

dg.typename(v)

dg.unique(v, return_counts=True)

dg.unique_consecutive(dg.tensor([1, 1, 2, 1]))

dg.var(x, dim=1)

dg.var_mean(x, dim=1)
