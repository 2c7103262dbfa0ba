"""PyTorch's functions by PyTorch's names."""
