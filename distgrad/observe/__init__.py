"""What the user sees while training runs."""

from distgrad.observe.progress import Progress

__all__ = ["Progress"]
