"""The canonical sum inside one node: ``hierarchical`` where there is nothing between nodes.

Arrays that lie in the node's memory are summed there in one pass: each rank adds up its slice of
everyone's and writes the total to everyone's.
"""

from __future__ import annotations

from distgrad.comm.transport import Transport


def missing(transport: Transport) -> str:
    """Say what it needs if ranks do not share one memory."""
    if transport.node.topology.one_node:
        return ""
    return "ranks that share one node's memory, and these run on several nodes or cannot share it"
