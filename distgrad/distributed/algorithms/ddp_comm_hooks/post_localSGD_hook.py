"""PyTorch's place for the hook of post-local SGD."""  # noqa: N999 (its name there)

from distgrad.parallel.hooks import PostLocalSGDState, post_localSGD_hook

__all__ = ["PostLocalSGDState", "post_localSGD_hook"]
