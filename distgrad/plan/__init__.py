"""Predicts a step on machines one does not have: the bucket schedule on a virtual clock."""
