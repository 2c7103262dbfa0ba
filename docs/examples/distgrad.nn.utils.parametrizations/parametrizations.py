"""Examples of distgrad.nn.utils.parametrizations."""

import distgrad as dg
from distgrad import nn
from distgrad.nn.utils import parametrizations

# Examples

# orthogonal: W Wᵀ stays 1
w = parametrizations.orthogonal(nn.Linear(3, 2)).weight
dg.allclose(w @ w.T, dg.eye(2), atol=1e-5)

# spectral_norm: the largest singular value becomes 1
w = parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=50).weight
round(dg.linalg.svdvals(w)[0].item(), 2)

# weight_norm: length and direction
sorted(name for name, p in parametrizations.weight_norm(nn.Linear(3, 2)).named_parameters())
