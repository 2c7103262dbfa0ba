"""Examples of distgrad.optim.swa_utils."""

import distgrad as dg
from distgrad import nn
from distgrad.optim import swa_utils

# Examples

# update_bn
model = nn.BatchNorm1d(3)
swa_utils.update_bn([dg.full((4, 3), 5.0)], model)
model.running_mean
