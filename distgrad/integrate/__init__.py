"""Ordinary differential equations, with gradients: through the solver, or by the adjoint."""

from distgrad.integrate.adjoint import odeint_adjoint
from distgrad.integrate.odeint import METHODS, odeint

__all__ = ["METHODS", "odeint", "odeint_adjoint"]
