"""The variational autoencoder of docs/sharp-bits.md: a sum loss with noise of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from training import simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

DOCS = Path(__file__).parents[2] / "docs" / "sharp-bits.md"


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(2, 6)

    def encode(self, x: Any) -> Any:
        both = self.first(x)
        return both[:, :2], both[:, 2:]

    def decode(self, z: Any) -> Any:
        return self.last(z).sigmoid()


def test_the_documented_vae_has_one_hash_on_any_number_of_ranks() -> None:
    [code] = re.findall(r"```python\n(ddp = dg.Distributed.*?)```", DOCS.read_text(), re.DOTALL)

    def body() -> tuple[str, bool]:
        dg.init(shards=4)
        model = VAE()
        start = nn.state_sha256(model.state_dict())
        data = dg.data.ArrayDataset(np.sin(np.arange(19 * 6.0)).reshape(19, 6) ** 2)
        scope = {
            **{"dg": dg, "np": np, "F": F, "model": model},
            "optimizer": optim.Adam(model.parameters(), lr=1e-2),
            "loader": dg.data.DataLoader(data, 8),  # the last batch leaves a shard empty
        }
        exec(code, scope)
        end = nn.state_sha256(model.state_dict())
        return end, end != start

    found = [r for size in (1, 2, 3, 4) for r in simulated(size, body)]
    assert len(set(found)) == 1
    assert found[0][1]
