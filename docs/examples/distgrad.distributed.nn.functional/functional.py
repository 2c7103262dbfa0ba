"""Examples of distgrad.distributed.nn.functional: collectives with gradients, on three ranks."""

import distgrad as dg
import distgrad.distributed as dist
from distgrad.comm import run_ranks
from distgrad.distributed.nn import functional as DF


def run(collective):
    """Each rank's result, and the gradient of the sum of all ranks' results."""

    def body():
        rank = dist.get_rank()
        x = dg.tensor([rank + 1.0, 10.0 * rank, 100.0 * rank], requires_grad=True)
        found = collective(x)
        parts = found if isinstance(found, tuple) else (found,)
        sum(part.sum() for part in parts).backward()
        return [part.tolist() for part in parts], x.grad.tolist()

    return run_ranks(3, body)


# Examples

# all_gather
run(lambda x: DF.all_gather(x))[0]

# all_reduce
run(lambda x: DF.all_reduce(x))[0]

# all_to_all
run(lambda x: DF.all_to_all(None, list(x.split(1))))

# all_to_all_single
run(lambda x: DF.all_to_all_single(None, x))

# broadcast
run(lambda x: DF.broadcast(x, src=1))

# gather
run(lambda x: DF.gather(x, dst=0))

# reduce
run(lambda x: DF.reduce(x, dst=2))

# reduce_scatter
run(lambda x: DF.reduce_scatter(None, list(x.split(1))))

# scatter
run(lambda x: DF.scatter(list(x.split(1)), src=0))
