"""Examples of distgrad.comm.algorithms."""

from distgrad.comm import algorithms
from distgrad.comm.topology import Topology

# Examples

# ALL_REDUCE, AUTO
algorithms.AUTO in algorithms.ALL_REDUCE, sorted(algorithms.ALL_REDUCE)

# choose: what "auto" takes for ranks 0 and 1 of one node, and for two nodes
one, two = Topology(((0, 1),)), Topology(((0,), (1,)))
[algorithms.choose(nodes, canonical=True) for nodes in (one, two)], algorithms.choose(two, False)
