"""Examples of distgrad's types, constants and switches, and of its random numbers."""

import numpy as np

import distgrad as dg

x = dg.tensor([1.0, 2.0])

# Examples

# Tensor: an array that records what is done with it
x = dg.tensor([1.0, 2.0], requires_grad=True)
(x**2).sum().backward()
isinstance(x.grad, dg.Tensor), x.grad

# BoolTensor, ByteTensor, CharTensor, ShortTensor, IntTensor, LongTensor: PyTorch's old constructors
kinds = dg.BoolTensor, dg.ByteTensor, dg.CharTensor, dg.ShortTensor, dg.IntTensor, dg.LongTensor
[kind([1, 0]).dtype.name for kind in kinds]

# HalfTensor, FloatTensor, DoubleTensor
[kind([1.0]).dtype.name for kind in (dg.HalfTensor, dg.FloatTensor, dg.DoubleTensor)]

# bool, short, int, long, dtype: PyTorch's short names
dg.tensor([1, 0], dtype=dg.bool), isinstance(dg.int, dg.dtype), (dg.short, dg.int, dg.long)

# uint8, int8, int16, int32, int64, uint16, uint32, uint64
signed = dg.int8, dg.int16, dg.int32, dg.int64
unsigned = dg.uint8, dg.uint16, dg.uint32, dg.uint64
[dg.iinfo(t).max for t in (*signed, *unsigned)]

# half, float16, float, float32, double, float64
[dg.finfo(t).bits for t in (dg.float16, dg.float32, dg.float64)], (dg.half, dg.float, dg.double)

# cfloat, complex64, cdouble, complex128
dg.tensor([1 + 2j], dtype=dg.cfloat), dg.cfloat is dg.complex64, dg.cdouble is dg.complex128

# Size: a shape
shape = dg.Size((2, 3))
shape.numel(), shape == x.reshape(1, 2).shape

# e, pi, inf, nan, newaxis
dg.e, dg.pi, dg.inf, dg.nan, x[:, dg.newaxis].shape

# contiguous_format, preserve_format, strided: PyTorch's settings, where scripts pass them
dg.zeros(2, layout=dg.strided).clone(memory_format=dg.preserve_format), dg.contiguous_format

dg.device("cpu")

dg.get_device(x)

# set_default_device: there is one
dg.set_default_device("cpu")
dg.zeros(2).device

# finfo, iinfo
dg.finfo(dg.float32).eps, dg.iinfo(dg.int8).min

# get_default_dtype, set_default_dtype, set_default_tensor_type
before = dg.get_default_dtype()
dg.set_default_dtype(dg.float64)
wide = dg.tensor(0.1)
dg.set_default_tensor_type("torch.FloatTensor")
before, wide.dtype, dg.tensor(0.1).dtype

# set_printoptions
dg.set_printoptions(precision=2)
rounded = repr(dg.tensor([1.23456]))
dg.set_printoptions(profile="default")
rounded

# no_grad, enable_grad, is_grad_enabled, set_grad_enabled
with dg.no_grad():
    inside = dg.is_grad_enabled()
    with dg.enable_grad():
        again = dg.is_grad_enabled()
with dg.set_grad_enabled(False):
    off = dg.is_grad_enabled()
inside, again, off, dg.is_grad_enabled()

# inference_mode
with dg.inference_mode():
    y = dg.tensor([1.0], requires_grad=True) * 2
y.requires_grad

# detect_anomaly: the first NaN is named
try:
    with dg.detect_anomaly(), np.errstate(invalid="ignore"):
        dg.tensor([-1.0], requires_grad=True).sqrt()
except dg.NonFiniteError as error:
    print(error)

# reference_kernels: the NumPy definitions, to compare with
with dg.reference_kernels():
    plain = dg.softmax(x, dim=0)
dg.allclose(plain, dg.softmax(x, dim=0))

# are_deterministic_algorithms_enabled, use_deterministic_algorithms: they always are
dg.use_deterministic_algorithms(True)
dg.are_deterministic_algorithms_enabled()

# manual_seed, initial_seed: the same numbers again, on every rank its own
dg.manual_seed(1)
a = dg.rand(2)
dg.manual_seed(1)
dg.equal(a, dg.rand(2)), dg.initial_seed()

# seed: refused, since ranks would differ
try:
    dg.seed()
except TypeError as error:
    print(error)

# Generator: a stream of its own
generator = dg.Generator().manual_seed(3)
dg.randn(2, generator=generator)

dg.bernoulli(dg.tensor([0.1, 0.9]))

dg.binomial(dg.tensor([10.0]), dg.tensor([0.5]))

dg.multinomial(dg.tensor([0.1, 0.2, 0.7]), 4, replacement=True)

dg.normal(0.0, 1.0, (2,))

dg.poisson(dg.tensor([1.0, 100.0]))

dg.rand(2)

dg.rand_like(x)

dg.randint(0, 10, (4,))

dg.randint_like(x, 10)

dg.randn(2)

dg.randn_like(x)

dg.randperm(5)

# resolve_conj, resolve_neg: nothing is lazy here
dg.resolve_conj(dg.tensor([1j]).conj()), dg.resolve_neg(x)

# zero_: in place
x.zero_(), dg.zero_(dg.ones(2))

# fill_, detach_
dg.fill_(dg.zeros(2), 3.0), dg.detach_(dg.ones(2)).requires_grad
