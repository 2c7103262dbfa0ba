"""Examples of distgrad.distributed: PyTorch's names, on three ranks that share this process."""

import distgrad as dg
import distgrad.distributed as dist
from distgrad.comm import run_ranks

# Examples


# init_process_group, get_rank, get_world_size, get_backend, destroy_process_group
def who():
    dist.init_process_group()
    found = dist.get_rank(), dist.get_world_size(), dist.get_backend()
    dist.destroy_process_group()
    return found


run_ranks(3, who)

# is_available, is_initialized
dist.is_available(), run_ranks(2, dist.is_initialized)


# all_reduce, ReduceOp
def largest():
    x = dg.tensor([float(dist.get_rank())])
    dist.all_reduce(x, op=dist.ReduceOp.MAX)
    return x.item()


run_ranks(3, largest)


# Work: computing meanwhile
def later():
    x = dg.tensor([1.0])
    work = dist.all_reduce(x, async_op=True)
    work.wait()
    return isinstance(work, dist.Work), x.item()


run_ranks(3, later)


# reduce
def on_rank_1():
    x = dg.tensor([dist.get_rank() + 1.0])
    dist.reduce(x, dst=1)
    return x.item()


run_ranks(3, on_rank_1)


# reduce_scatter, reduce_scatter_tensor
def parts():
    mine, again = dg.zeros(1), dg.zeros(1)
    dist.reduce_scatter(mine, [dg.tensor([1.0 * i]) for i in range(3)])
    dist.reduce_scatter_tensor(again, dg.tensor([0.0, 1.0, 2.0]))
    return mine.item(), again.item()


run_ranks(3, parts)


# broadcast
def from_rank_2():
    x = dg.tensor([float(dist.get_rank())])
    dist.broadcast(x, src=2)
    return x.item()


run_ranks(3, from_rank_2)


# all_gather, all_gather_into_tensor
def everyone():
    mine = dg.tensor([float(dist.get_rank())])
    found, joined = [dg.zeros(1) for _ in range(3)], dg.zeros(3)
    dist.all_gather(found, mine)
    dist.all_gather_into_tensor(joined, mine)
    return [x.item() for x in found], joined.tolist()


run_ranks(3, everyone)[0]


# gather
def to_rank_0():
    mine = dg.tensor([float(dist.get_rank())])
    found = [dg.zeros(1) for _ in range(3)] if dist.get_rank() == 0 else None
    dist.gather(mine, found, dst=0)
    return found and [x.item() for x in found]


run_ranks(3, to_rank_0)


# scatter
def from_rank_0():
    mine = dg.zeros(1)
    dist.scatter(mine, [dg.tensor([10.0 * i]) for i in range(3)] if dist.get_rank() == 0 else None)
    return mine.item()


run_ranks(3, from_rank_0)


# all_to_all, all_to_all_single
def swap():
    rank = dist.get_rank()
    found, joined = [dg.zeros(1) for _ in range(3)], dg.zeros(3)
    dist.all_to_all(found, [dg.tensor([10.0 * rank + i]) for i in range(3)])
    dist.all_to_all_single(joined, dg.tensor([10.0 * rank + i for i in range(3)]))
    return [x.item() for x in found], joined.tolist()


run_ranks(3, swap)


# send, recv
def hand_on():
    x = dg.tensor([7.0]) if dist.get_rank() == 0 else dg.zeros(1)
    if dist.get_rank() == 0:
        dist.send(x, dst=1)
    elif dist.get_rank() == 1:
        dist.recv(x, src=0)
    return x.item()


run_ranks(3, hand_on)


# isend, irecv, batch_isend_irecv, P2POp: each to its right neighbour
def around():
    rank, size = dist.get_rank(), dist.get_world_size()
    mine, left = dg.tensor([float(rank)]), dg.zeros(1)
    messages = [
        dist.P2POp(dist.isend, mine, (rank + 1) % size),
        dist.P2POp(dist.irecv, left, (rank - 1) % size),
    ]
    for work in dist.batch_isend_irecv(messages):
        work.wait()
    return left.item()


run_ranks(3, around)


# barrier, monitored_barrier
def meet():
    dist.barrier()
    dist.monitored_barrier()
    return "met"


run_ranks(3, meet)


# new_group, ProcessGroup, get_process_group_ranks, get_global_rank, get_group_rank
def outer_two():
    outer = dist.new_group([0, 2])
    if dist.get_rank(outer) < 0:
        return "not in it"
    ranks = dist.get_process_group_ranks(outer)
    return (
        isinstance(outer, dist.ProcessGroup),
        ranks,
        dist.get_global_rank(outer, 1),
        dist.get_group_rank(outer, 2),
    )


run_ranks(3, outer_two)


# group, GroupMember: PyTorch's names of all ranks
def in_the_world():
    return dist.get_rank(dist.group.WORLD), dist.GroupMember.WORLD is dist.group.WORLD


run_ranks(2, in_the_world)


# all_gather_object, gather_object
def objects():
    found, there = [None] * 3, [None] * 3 if dist.get_rank() == 0 else None
    dist.all_gather_object(found, {"rank": dist.get_rank()})
    dist.gather_object(dist.get_rank(), there, dst=0)
    return found[2], there


run_ranks(3, objects)


# broadcast_object_list, scatter_object_list
def lists():
    said = ["hello" if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(said, src=0)
    mine = [None]
    dist.scatter_object_list(mine, ["a", "b", "c"] if dist.get_rank() == 0 else None, src=0)
    return said[0], mine[0]


run_ranks(3, lists)


# send_object_list, recv_object_list
def letter():
    said = ["hello"] if dist.get_rank() == 0 else [None]
    if dist.get_rank() == 0:
        dist.send_object_list(said, dst=1)
    else:
        dist.recv_object_list(said, src=0)
    return said


run_ranks(2, letter)
