"""Examples of distgrad.comm: ranks, collectives, and what algorithms are written with."""

import numpy as np

import distgrad as dg
from distgrad import comm

# Examples


# run_ranks, Communicator: three ranks as threads of this process
def total():
    mine = dg.init().comm
    a = np.array([mine.rank, 1.0])
    mine.all_reduce(a)
    return isinstance(mine, comm.Communicator), a.tolist()


comm.run_ranks(3, total)


# connect, Transport: the world this rank was started in, before anything is built on it
def who():
    transport = comm.connect()
    return transport.rank, transport.size


print(comm.Transport.__name__)
comm.run_ranks(2, who)


# Request, Work, Started: a collective under way; the rank computes meanwhile
def overlap():
    mine = dg.init().comm
    a = np.full(4, mine.rank + 1.0)
    work = mine.start_all_reduce(a)
    work.wait()
    return a[0]


print([kind for kind in (comm.Request, comm.Work) if kind.__doc__] != [], comm.Started is not None)
comm.run_ranks(3, overlap)

# ALL_REDUCE, AUTO, Algorithm: the table of algorithms, and what `algorithm="auto"` stands for
print(comm.AUTO, sorted(comm.ALL_REDUCE))
all(isinstance(record, comm.Algorithm) for record in comm.ALL_REDUCE.values())

# TreeSum, nodes_of, Part: partial sums over the canonical tree of rank 1's shards 3, 4 and 5
tree = comm.TreeSum(range(3, 6))
for shard in range(3, 6):
    tree.add(shard, np.array([10.0**shard]))
print(comm.nodes_of(range(3, 6)), comm.Part)
tree.parts

# KnownSum: a sum whose parts and order all ranks know
comm.KnownSum.__doc__.splitlines()[0]


# SharedArray, Board, Call: gradients in memory that a node's ranks share
def shared():
    mine = dg.init().comm
    found = mine.share([(4, np.dtype("f4"), 1)])
    return type(found[0]) is comm.SharedArray, found[0].own.shape


print(comm.Board.__doc__.splitlines()[0], comm.Call)
comm.run_ranks(2, shared)


# gather_json: what every rank passes, on every rank
def names():
    mine = dg.init().comm
    return comm.gather_json(mine, {"rank": mine.rank}, "who is there")


comm.run_ranks(2, names)

# hears_interrupts: a Ctrl-C that all simulated ranks hear of
with comm.hears_interrupts(lambda: False):
    print(comm.run_ranks(2, lambda: dg.init().rank))
