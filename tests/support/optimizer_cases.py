"""Every optimizer with settings of which each changes something: tests walk them."""

from __future__ import annotations

from typing import Any

ELEMENTWISE: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
    "ASGD": {"t0": 2.0, "weight_decay": 0.1},
    "Adam": {"weight_decay": 0.1, "amsgrad": True},
    "AdamW": {"amsgrad": True},
    "NAdam": {"weight_decay": 0.1},
    "RAdam": {"weight_decay": 0.1},
    "Adamax": {"weight_decay": 0.1},
    "Adagrad": {"weight_decay": 0.1, "initial_accumulator_value": 0.2, "lr_decay": 0.1},
    "Adadelta": {"weight_decay": 0.1},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {},
    "Lion": {"weight_decay": 0.1},
}
"""Those that may be cut anywhere."""

WHOLE: dict[str, dict[str, Any]] = {
    "LARS": {"weight_decay": 0.1},
    "LAMB": {"weight_decay": 0.1},
    "Adafactor": {"weight_decay": 0.1},
    "Muon": {},
    "SparseAdam": {},
}
"""Those that look at whole parameters."""

ALL = ELEMENTWISE | WHOLE
