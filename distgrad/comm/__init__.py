"""The wire tower: buffers move between ranks. It knows nothing of gradients."""

from distgrad.comm.algorithms import ALL_REDUCE, AUTO, Algorithm
from distgrad.comm.as_json import gather_json
from distgrad.comm.board import Board
from distgrad.comm.canonical import Part, TreeSum, nodes_of
from distgrad.comm.communicator import Communicator
from distgrad.comm.connect import connect
from distgrad.comm.message import Request
from distgrad.comm.node import Call, SharedArray
from distgrad.comm.quick import KnownSum, Started
from distgrad.comm.transport import Transport
from distgrad.comm.work import Work
from distgrad.comm.worlds.simulate import hears_interrupts, run_ranks

__all__ = [
    "ALL_REDUCE",
    "AUTO",
    "Algorithm",
    "Board",
    "Call",
    "Communicator",
    "KnownSum",
    "Part",
    "Request",
    "SharedArray",
    "Started",
    "Transport",
    "TreeSum",
    "Work",
    "connect",
    "gather_json",
    "hears_interrupts",
    "nodes_of",
    "run_ranks",
]
