"""``torch.distributed.algorithms``: PyTorch's places for what ``distgrad.parallel`` has.

Scripts that import hooks and averagers from there run with their imports renamed; nothing here is
imported before it is asked for.
"""
