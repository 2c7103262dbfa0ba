"""Examples of distgrad.cuda: what PyTorch's scripts ask before they take the CPU."""

from distgrad import cuda

# Examples

cuda.is_available()

cuda.device_count()

# empty_cache, manual_seed, manual_seed_all: nothing to do
cuda.empty_cache(), cuda.manual_seed(0), cuda.manual_seed_all(0)
