"""Examples of distgrad.nn.utils.parametrize."""

import distgrad as dg
from distgrad import nn
from distgrad.nn.utils import parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).T


# Examples

# register_parametrization, is_parametrized, ParametrizationList
layer = nn.Linear(2, 2)
parametrize.register_parametrization(layer, "weight", Symmetric())
kind = type(layer.parametrizations.weight)
(
    dg.equal(layer.weight, layer.weight.T),
    parametrize.is_parametrized(layer),
    kind is parametrize.ParametrizationList,
)

# cached: computed once inside
layer = nn.Linear(2, 2)
parametrize.register_parametrization(layer, "weight", Symmetric())
with parametrize.cached():
    same = layer.weight is layer.weight
same

# remove_parametrizations, type_before_parametrizations
layer = nn.Linear(2, 2)
parametrize.register_parametrization(layer, "weight", Symmetric())
kind = parametrize.type_before_parametrizations(layer)
parametrize.remove_parametrizations(layer, "weight")
kind, parametrize.is_parametrized(layer)

# transfer_parametrizations_and_params
source, target = nn.Linear(2, 2), nn.Linear(2, 2)
parametrize.register_parametrization(source, "weight", Symmetric())
parametrize.transfer_parametrizations_and_params(source, target)
dg.equal(target.weight, source.weight)
