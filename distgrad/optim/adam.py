"""Adam and AdamW."""

from __future__ import annotations

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import NonNegative
from distgrad.optim.optimizer import (
    Betas,
    Group,
    Number,
    Optimizer,
    Params,
    refuse_differentiable,
)
from distgrad.optim.run import State
from distgrad.optim.update import adam_


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), PyTorch's form; ``weight_decay`` is an L2 penalty.

    ``amsgrad`` divides by the largest second moment so far (Reddi et al. 2018).
    """

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        refuse_differentiable("Adam", differentiable)
        _check_tensors("Adam", lr, betas, foreach is True and not capturable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the two moments' names, and that of the second's maximum."""
        return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adam_``."""
        moments = (state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq"))
        adam_(value, grad, *moments, step=step, **self.settings(group, "amsgrad"))


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), PyTorch's form."""

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse_differentiable("AdamW", differentiable)
        _check_tensors("AdamW", lr, betas, foreach is True and not capturable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    maximizes = True
    state_names = Adam.state_names

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adam_`` with decoupled weight decay."""
        moments = (state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq"))
        settings = self.settings(group, "amsgrad")
        adam_(value, grad, *moments, step=step, decoupled_weight_decay=True, **settings)


def _check_tensors(who: str, lr: Number, betas: tuple[Number, Number], only_numbers: bool) -> None:
    """Refuse the mixtures of numbers and Tensors that PyTorch refuses."""
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if len(set(tensors)) > 1:
        raise ShapeError(f"{who}: betas={betas} must be both numbers or both Tensors")
    if only_numbers and (isinstance(lr, Tensor) or any(tensors)):
        raise ShapeError(
            f"{who}: foreach=True takes no Tensors for lr and betas; leave foreach out, which "
            f"changes nothing here"
        )
