"""Examples of distgrad.observe.time."""

from distgrad.observe import time

# Examples

# Share, Shares: two ranks, of which rank 1 computes for longer
ranks = (
    time.Share("a", steps=10, seconds=2.0, waiting=1.0, transfer=0.1, hidden=0.2),
    time.Share("b", steps=10, seconds=2.0, waiting=0.0, transfer=0.1, hidden=0.2),
)
print(time.Shares(ranks).described())
