"""What a run is doing right now, from its folder: the state, and a screen of it."""

from distgrad.observe.top.state import State, state_of

__all__ = ["State", "state_of"]
