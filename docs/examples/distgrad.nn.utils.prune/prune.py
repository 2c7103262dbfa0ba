"""Examples of distgrad.nn.utils.prune."""

import distgrad as dg
from distgrad import nn
from distgrad.nn.utils import prune


def layer():
    made = nn.Linear(4, 2, bias=False)
    made.weight.data = dg.tensor([[1.0, -2.0, 3.0, -4.0], [0.1, 0.2, 0.3, 0.4]])
    return made


# Examples


# BasePruningMethod: one of one's own
class EverySecond(prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        mask[..., ::2] = 0
        return mask


model = layer()
EverySecond.apply(model, "weight")
model.weight

# CustomFromMask, custom_from_mask
mask = dg.tensor([[1, 0, 0, 1], [1, 1, 1, 1]])
model = prune.custom_from_mask(layer(), "weight", mask)
isinstance(prune.CustomFromMask(mask), prune.BasePruningMethod), model.weight

# Identity, identity
isinstance(prune.Identity(), prune.BasePruningMethod), prune.identity(layer(), "weight").weight_mask

# L1Unstructured, l1_unstructured
prune.L1Unstructured(0.5).amount, prune.l1_unstructured(layer(), "weight", amount=0.5).weight

# LnStructured, ln_structured
(
    prune.LnStructured(1, n=2).amount,
    prune.ln_structured(layer(), "weight", amount=1, n=2, dim=0).weight,
)

# RandomStructured, random_structured
prune.RandomStructured(1).amount, prune.random_structured(layer(), "weight", amount=1, dim=1).weight

# RandomUnstructured, random_unstructured
prune.RandomUnstructured(3).amount, prune.random_unstructured(layer(), "weight", amount=3).weight

# PruningContainer: pruned twice
model = prune.l1_unstructured(layer(), "weight", amount=2)
both = prune.L1Unstructured.apply(model, "weight", amount=2)
isinstance(both, prune.PruningContainer), len(both), int(model.weight_mask.sum())

# global_unstructured: the smallest of all layers together
a, b = layer(), layer()
prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=8)
a.weight

# is_pruned, remove
model = prune.l1_unstructured(layer(), "weight", amount=2)
before = prune.is_pruned(model)
prune.remove(model, "weight")
before, prune.is_pruned(model), model.weight.data
