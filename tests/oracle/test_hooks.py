"""PowerSGD beside PyTorch's, run over gloo by processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hooked import gradient, sums

from distgrad.parallel import hooks

pytest.importorskip("torch")
PEER = Path(__file__).with_name("power_sgd_peer.py")
SHAPE = (37, 29)


@pytest.mark.parametrize("rank", [1, 4])  # up to 2 PyTorch uses Gram-Schmidt, above QR
@pytest.mark.parametrize("size", [2, 3])
def test_power_sgd_is_pytorchs_times_the_number_of_ranks(tmp_path, size, rank):
    q = np.random.default_rng(5).standard_normal((SHAPE[1], rank)).astype(np.float32)
    given = {f"g{s}": np.stack([gradient(r, SHAPE, s) for r in range(size)]) for s in range(3)}
    np.savez(tmp_path / "given.npz", q=q, **given)
    files = [str(tmp_path / name) for name in ("rendezvous", "given.npz", "answer.npy")]
    peers = [
        subprocess.Popen([sys.executable, str(PEER), str(r), str(size), *files])
        for r in range(size)
    ]
    assert [peer.wait(timeout=60) for peer in peers] == [0] * size
    averages = np.load(tmp_path / "answer.npy")

    def state():
        made = hooks.PowerSGDState(None, rank, 0)
        made.common["Q of bucket 0 (p0)"] = q.reshape(-1).copy()
        return made

    for result in sums(size, [SHAPE], hooks.powerSGD_hook, state, steps=3):
        for step in range(3):
            expected = size * averages[step]
            np.testing.assert_allclose(result.found[step][0], expected, rtol=2e-3, atol=2e-3)
