"""Examples of distgrad.nn.init."""

import distgrad as dg
from distgrad.nn import init

w = dg.zeros(2, 3)

# Examples

init.calculate_gain("leaky_relu", 0.2)

init.constant_(w, 0.5)

init.dirac_(dg.zeros(2, 2, 3))

init.eye_(w)

init.fans(dg.zeros(16, 3, 5, 5))

init.kaiming_normal_(w, nonlinearity="relu")

init.kaiming_uniform_(w)

init.normal_(w, std=0.02)

init.ones_(w)

init.orthogonal_(w)

init.sparse_(w, sparsity=0.5)

init.trunc_normal_(w, std=0.02)

init.uniform_(w, -1.0, 1.0)

init.xavier_normal_(w)

init.xavier_uniform_(w)

init.zeros_(w)
