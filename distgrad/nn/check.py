"""What the settings of layers may be, by name: nonsense is refused where it is written.

One table serves all layers, since a name means the same in all of them. What depends on several
settings (groups that divide channels), or on an input, is checked where it is used.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError


class Rule(NamedTuple):
    """What a setting is, in words, and whether a value is that."""

    words: str
    holds: Callable[[object], bool]


def check_settings(layer: type) -> None:
    """Let the constructor of ``layer`` raise ShapeError for settings that are none."""
    construct: Any = layer.__init__  # type: ignore[misc]
    signature = inspect.signature(construct)
    rules = {name: rule for name in signature.parameters if (rule := rule_of(layer, name))}
    if not rules:
        return

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **settings: Any) -> None:
        try:
            given = signature.bind(self, *args, **settings).arguments
        except TypeError:
            given = {}  # Python's own message comes next
        for name, value in given.items():
            rule = rules.get(name)
            if rule is not None and not rule.holds(value):
                raise ShapeError(
                    f"{type(self).__name__}: {name} is {rule.words}; got {_shown(value)}"
                )
        construct(self, *args, **settings)

    layer.__init__ = checked  # type: ignore[misc]


def rule_of(layer: type, name: str) -> Rule | None:
    """Return the rule for the setting ``name``: the layer's own, or that of all layers."""
    return OWN.get(f"{layer.__name__}.{name}") or RULES.get(name)


def _shown(value: object) -> str:
    # As users read it: not np.float64(-1.0).
    return str(value) if isinstance(value, Real) else repr(value)


def _is_switch(value: object) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in {0, 1})


def _is_whole(value: Any, low: float) -> bool:
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return integer and bool(value >= low)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, Real) and low <= float(value) <= high


def whole(low: float = -math.inf) -> Rule:
    """A whole number, from ``low`` on."""
    words = {-math.inf: "", 0: ", 0 or more", 1: " above 0"}[low]
    return Rule(f"a whole number{words}", lambda v: _is_whole(v, low))


def sizes(low: float, *, gaps: bool = False) -> Rule:
    """A whole number, or several, one for each axis; with ``gaps`` some may be None."""

    def holds(value: Any) -> bool:
        several = isinstance(value, tuple | list | np.ndarray) and len(value) > 0
        return all(
            _is_whole(v, low) or (gaps and v is None) for v in (value if several else [value])
        )

    words = whole(low).words
    return Rule(f"{words}, or one for each axis", holds)


def number(low: float = -math.inf, high: float = math.inf) -> Rule:
    """A real number from ``low`` to ``high``, not NaN."""
    words = "a number"
    if low > -math.inf:
        words += f", from {low:g} to {high:g}" if high < math.inf else f", {low:g} or more"
    return Rule(words, lambda v: _is_number(v, low, high))


def one_of(*choices: object) -> Rule:
    """One of a few values."""
    words = ", ".join(repr(c) for c in choices[:-1]) + f" or {choices[-1]!r}"

    def holds(value: Any) -> bool:
        # Numbers and names from NumPy arrays too; True is not 1 here.
        return type(value) is not bool and isinstance(value, str | Real) and value in choices

    return Rule(words, holds)


def optional(rule: Rule) -> Rule:
    """What ``rule`` says, or None."""
    return Rule(f"{rule.words}, or None", lambda v: v is None or rule.holds(v))


def _is_array(value: object) -> bool:
    try:
        return np.asarray(value.array if isinstance(value, Tensor) else value).dtype.kind in "fiub"
    except (TypeError, ValueError):
        return False


SWITCH = Rule("True or False", _is_switch)
ANY_NUMBER = Rule("a number", lambda v: isinstance(v, Real))
ARRAY = Rule("an array of numbers, or None", lambda v: v is None or _is_array(v))
FUNCTION = Rule("a function, or None", lambda v: v is None or callable(v))
REDUCTION = one_of("mean", "sum", "none")


def _table() -> Iterator[tuple[str, Rule]]:
    names = {
        SWITCH: "bias affine track_running_stats elementwise_affine batch_first bidirectional "
        "norm_first add_bias_kv add_zero_attn ceil_mode count_include_pad return_indices inplace "
        "full log_input log_target zero_infinity swap keepdim scale_grad_by_freq sparse",
        whole(0): "in_features out_features in1_features in2_features num_features in_channels "
        "out_channels num_channels num_embeddings embedding_dim dim_feedforward proj_size blank "
        "num_encoder_layers num_decoder_layers",
        whole(1): "input_size hidden_size num_layers embed_dim num_heads d_model nhead "
        "num_parameters size upscale_factor downscale_factor",
        whole(): "groups num_groups start_dim end_dim ignore_index",
        optional(whole()): "dim padding_idx divisor_override",
        optional(whole(0)): "kdim vdim",
        sizes(0): "normalized_shape padding output_padding output_size",
        sizes(1): "kernel_size dilation",
        optional(sizes(1)): "stride",
        number(0): "eps layer_norm_eps p",
        number(0, 1): "dropout label_smoothing",
        optional(number(0, 1)): "momentum",
        optional(number(0)): "max_norm",
        number(): "alpha beta k lambd negative_slope lower upper threshold min_val max_val delta "
        "margin norm_type",
        ANY_NUMBER: "value init",
        ARRAY: "weight pos_weight",
        FUNCTION: "distance_function custom_encoder custom_decoder",
        REDUCTION: "reduction",
        optional(SWITCH): "align_corners recompute_scale_factor",
        one_of("none", "tanh"): "approximate",
        one_of("tanh", "relu"): "nonlinearity",
    }
    for rule, words in names.items():
        for name in words.split():
            yield name, rule


RULES: dict[str, Rule] = dict(_table())


def _exceptions() -> Iterator[tuple[str, Rule]]:
    probability = Rule("a probability, from 0 to 1", number(0, 1).holds)
    for kind in ("Dropout", "AlphaDropout", "FeatureAlphaDropout"):
        yield f"{kind}.p", probability
    for space in (1, 2, 3):
        yield f"Dropout{space}d.p", probability
        # Negative padding cuts.
        for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero"):
            yield f"{kind}Pad{space}d.padding", sizes(-math.inf)
        for kind in ("Conv", "ConvTranspose"):
            words = f"{sizes(0).words}, 'same' or 'valid'"
            named = Rule(words, lambda v: sizes(0).holds(v) or v in ("same", "valid"))
            yield f"{kind}{space}d.padding", named
            yield f"{kind}{space}d.stride", sizes(1)
        yield f"InstanceNorm{space}d.momentum", number(0, 1)
        for kind in ("Avg", "Max"):
            yield f"Adaptive{kind}Pool{space}d.output_size", sizes(0, gaps=True)
    for kind in ("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"):
        yield f"{kind}.size", optional(sizes(1))
    for kind in ("TransformerEncoder", "TransformerDecoder"):
        yield f"{kind}.num_layers", whole(0)
    yield "Unflatten.dim", whole()._replace(words="a whole number, axes have no names")
    yield "RMSNorm.eps", optional(number(0))
    yield "MultiMarginLoss.p", one_of(1, 2)
    yield "KLDivLoss.reduction", one_of("mean", "sum", "none", "batchmean")


OWN: dict[str, Rule] = dict(_exceptions())
