"""``torch.nn.parallel``: PyTorch's place for what trains a module on several ranks.

Nothing in ``nn`` imports it, since it looks up to the bridge; ``distgrad`` itself does.
"""

from distgrad.nn.data_parallel import DataParallel
from distgrad.parallel import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel"]
