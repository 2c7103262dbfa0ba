"""Values from all ranks as JSON carries them: settings, hosts, figures; no arrays."""

from __future__ import annotations

import json
from typing import Any

from distgrad.comm.moves import Moves


def gather_json(comm: Moves, value: object, name: str) -> list[Any]:
    """Return what every rank passed, in rank order; ``name`` says in errors what it is for."""
    found = comm.all_gather_bytes(json.dumps(value).encode(), name=name)
    return [json.loads(data) for data in found]
