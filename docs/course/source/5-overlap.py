# %% [markdown]
# # 5. Buckets and overlap
#
# *Build your own data-parallel trainer, notebook 5 of 7. About 45 minutes.*
#
# The trainer of notebook 4 computes, then communicates. While it communicates the processor waits; while it computes the
# network does. But backward makes the gradients one by one, the last layer's first, and the first ones could
# travel while the others are still being computed. This is called **overlap**, and it decides whether a hundred machines are
# worth their money. At the end you can
#
# * estimate what a message and an all-reduce cost, with two numbers,
# * say how large buckets should be, and why,
# * write a data-parallel wrapper with buckets and overlap, in forty lines.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg
from distgrad import nn
from distgrad.comm import run_ranks
from distgrad.nn import functional as F

# %% [markdown]
# ## What a message costs
#
# A message of $n$ bytes takes about
#
# $$T(n) = \alpha + \beta n .$$
#
# $\alpha$, the latency, is what even an empty message takes; $1/\beta$ is the bandwidth (Hockney, 1994). The ring makes
# $2(p-1)$ steps with slices of $n/p$ bytes:
#
# $$T_{\text{ring}}(n) = 2(p-1) \left( \alpha + \beta \frac np \right) .$$
#
# Take 8 machines, a network of 25 Gbit/s and a latency of 30 µs.

# %%
ALPHA = 30e-6  # seconds
BETA = 8 / 25e9  # seconds a byte
RANKS = 8


def ring_seconds(nbytes):
    return 2 * (RANKS - 1) * (ALPHA + BETA * nbytes / RANKS)


sizes = 2.0 ** np.arange(8, 28)
plt.figure(figsize=(6, 3))
plt.loglog(sizes, [ring_seconds(n) for n in sizes], "o-", markersize=3)
plt.axhline(2 * (RANKS - 1) * ALPHA, ls=":", color="0.5")
plt.xlabel("bytes")
plt.ylabel("seconds of an all-reduce")
plt.tight_layout()

half = ALPHA * RANKS / BETA  # where both terms are equal
print(
    f"a bias of 4 kB takes {1e3 * ring_seconds(4e3):.2f} ms, a matrix of 4 MB {1e3 * ring_seconds(4e6):.2f} ms"
)
print(f"latency and bandwidth cost the same at {half / 1e6:.2f} MB")

# %% [markdown]
# A thousand times as many bytes, only six times the time: below a megabyte one pays for the *steps*, not for the
# bytes. So never send a bias by itself. Put gradients together in **buckets**.
#
# **Question.** Why not put all gradients in one bucket, then?
#
# <details><summary>Answer</summary>
#
# A bucket can leave only when its last gradient is ready. One bucket for all is ready when backward is over: no overlap.
#
# </details>
#
# ## The order of readiness
#
# A model with 24 layers, each a matrix of 4 MB and a bias of 4 kB, 96 MB in all. Backward takes 66 ms and goes from the last layer to
# the first. So the *order of readiness* is the model's order, reversed. We let the computer be the rank, and the
# network a queue: it carries one bucket after another, each as soon as it is complete and the one before is through.

# %%
LAYERS = 24
parameters = [
    size for _ in range(LAYERS) for size in (4_000_000, 4_000)
]  # bytes, in the model's order
BACKWARD = 66e-3
ready = {}  # parameter -> when its gradient is final
for done, index in enumerate(reversed(range(len(parameters))), 1):
    ready[index] = BACKWARD * sum(parameters[-done:]) / sum(parameters)


def flights(buckets, overlap=True):
    """Return (start, end) of each bucket's all-reduce; a bucket is a list of parameters."""
    free, found = 0.0, []
    for bucket in buckets:
        complete = max(ready[index] for index in bucket) if overlap else BACKWARD
        start = max(complete, free)
        free = start + ring_seconds(sum(parameters[index] for index in bucket))
        found.append((start, free))
    return found


def cut_evenly(count):
    """Cut the parameters, in the order of readiness, into this many buckets."""
    return [list(part) for part in np.array_split(np.arange(len(parameters))[::-1], count)]


schemes = {
    "one bucket, after backward": flights(cut_evenly(1), overlap=False),
    "one for each parameter": flights(cut_evenly(48)),
    "12 buckets of 8 MB": flights(cut_evenly(12)),
}
fig, axes = plt.subplots(3, 1, figsize=(8, 4.2), sharex=True)
for ax, (name, found) in zip(axes, schemes.items(), strict=True):
    ax.broken_barh([(0, 1e3 * BACKWARD)], (1.1, 0.8), color="#dbe9f6", edgecolor="k", lw=0.5)
    spans = [(1e3 * a, 1e3 * (b - a)) for a, b in found]
    ax.broken_barh(spans, (0.1, 0.8), color="#f6c28b", edgecolor="k", lw=0.5)
    ax.axvline(1e3 * BACKWARD, ls=":", color="0.4")
    ax.set_yticks([0.5, 1.5], ["network", "backward"])
    ax.set_title(f"{name}: {1e3 * (found[-1][1] - BACKWARD):.1f} ms are not hidden", fontsize=9)
axes[-1].set_xlabel("ms")
plt.tight_layout()

# %% [markdown]
# Twelve buckets hide nearly everything: what is left is the last bucket, which has nothing to hide behind. One for
# each parameter is too many: the queue is longer than backward. Between the two lies a minimum.

# %%
counts = np.arange(1, 49)
exposed = [1e3 * (flights(cut_evenly(int(n)))[-1][1] - BACKWARD) for n in counts]
best = int(counts[np.argmin(exposed)])
plt.figure(figsize=(6, 2.8))
plt.plot(counts, exposed, "o-", markersize=3)
plt.xlabel("number of buckets")
plt.ylabel("not hidden, ms")
plt.ylim(0)
plt.title(f"best: {best} buckets of {sum(parameters) / best / 1e6:.0f} MB", fontsize=10)
plt.tight_layout()
assert 1 < best < 48

# %% [markdown]
# `distgrad plan` makes the same calculation with the schedule that distgrad really has: its buckets, its algorithms, what a
# core does for each message, and that a collective moves on only when somebody looks after it. Ask it about a model of the
# same size, with many small matrices:

# %%
folder = Path(tempfile.mkdtemp())


def distgrad(*words):
    """Run the command line tool, and return what it prints."""
    command = [sys.executable, "-m", "distgrad", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


model_size = [
    "--parameters",
    "24M",
    "--layers",
    100,
    "--compute",
    "99ms",
    "--strategy",
    "ddp",
    "--algorithm",
    "ring",
]
machine = ["--nodes", RANKS, "--bandwidth", "25Gbit", "--latency", "30us"]
for mb in (0, 4, 1000):
    distgrad("plan", *model_size, *machine, "--bucket-mb", mb, "--json", folder / "plan.json")
    (row,) = json.loads((folder / "plan.json").read_text())["rows"]
    print(
        f"buckets of {mb:4} MB: step {1e3 * row['step']:.1f} ms, not hidden {1e3 * row['exposed']:.1f} ms"
    )

# %% [markdown]
# (0 MB means a bucket for each parameter.) These numbers are larger than ours, as here collectives move on only at certain
# moments. But the lesson is the same: not one bucket, not one for each parameter.
#
# ## Write it
#
# Now the wrapper. For each parameter we need the moment at which its gradient is final: distgrad calls a function then,
# `register_post_accumulate_grad_hook`, as PyTorch does. The wrapper
#
# 1. cuts the parameters into buckets in the order of readiness; a bucket is one flat array, and each parameter has a slice of it,
# 2. copies each gradient to its slice as it becomes final, weighted by the rank's share of the batch, and counts,
# 3. starts the all-reduce of a bucket when it is complete, and does not wait: backward goes on,
# 4. waits for all of them at the end, and hands the sums back.
#
# There is one trap. *Which* bucket is complete first may differ between ranks, when parts of a model are not used in each
# batch. But all ranks must start the same collectives in the same order. So buckets start in the order of their numbers,
# on every rank: number 1 waits for number 0 even if it is complete before. Ranks agree on this without a word.


# %%
class Bucket:
    def __init__(self, parameters):
        self.parameters = parameters
        self.flat = np.zeros(sum(p.size for p in parameters))
        self.slices, start = {}, 0
        for p in parameters:
            self.slices[id(p)] = self.flat[start : start + p.size]  # a view
            start += p.size
        self.missing = len(parameters)


class DataParallel:
    """Sums gradients over all ranks, in buckets, while backward runs."""

    def __init__(self, model, comm, buckets):
        self.comm, self.log = comm, []
        names = {id(p): name for name, p in model.named_parameters()}
        parameters = list(model.parameters())
        for p in parameters:  # everybody begins with rank 0's weights
            value = p.detach().numpy().copy()
            comm.broadcast(value)
            with dg.no_grad():
                p.copy_(value)
        self.buckets = [Bucket([parameters[i] for i in indices]) for indices in buckets]
        for bucket in self.buckets:
            for p in bucket.parameters:
                p.register_post_accumulate_grad_hook(
                    lambda p, bucket=bucket: self._ready(p, bucket, names[id(p)])
                )

    def backward(self, loss, weight):
        """Run backward; ``weight`` is this rank's share of the batch."""
        self.weight, self.works = weight, []
        loss.backward()
        for bucket, work in zip(self.buckets, self.works, strict=True):
            work.wait()
            bucket.missing = len(bucket.parameters)
            for p in bucket.parameters:
                p.grad = dg.Tensor(bucket.slices[id(p)].reshape(p.shape))

    def _ready(self, p, bucket, name):
        self.log.append(f"{name} is ready")
        bucket.slices[id(p)][...] = self.weight * p.grad.numpy().ravel()
        bucket.missing -= 1
        while len(self.works) < len(self.buckets) and not self.buckets[len(self.works)].missing:
            self.log.append(f"    bucket {len(self.works)} leaves")
            self.works.append(self.comm.start_all_reduce(self.buckets[len(self.works)].flat))


# %% [markdown]
# Try it on three simulated ranks, with uneven parts of a batch, beside `dg.DistributedDataParallel`.

# %%
train, _ = dg.data.digits()
images = np.stack([np.asarray(train[i][0]).ravel() for i in range(100)]).astype(float)
labels = np.array([int(train[i][1]) for i in range(100)])


def make_model():
    dg.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 10)
    ).double()


def ours():
    world = dg.init()
    model = make_model()
    ddp = DataParallel(
        model, world.comm, buckets=[[5, 4], [3, 2], [1, 0]]
    )  # two parameters each, the last first
    x, t = (
        np.array_split(images, world.size)[world.rank],
        np.array_split(labels, world.size)[world.rank],
    )
    ddp.backward(F.cross_entropy(model(x), t), weight=len(x) / len(images))
    return ddp.log, [p.grad.numpy().copy() for p in model.parameters()]


def theirs():
    dg.init()
    model = make_model()
    ddp = dg.DistributedDataParallel(model)
    data = dg.TensorDataset(dg.Tensor(images), dg.Tensor(labels))
    (batch,) = dg.data.DataLoader(data, global_batch_size=100)
    for x, t in batch.shards:
        ddp.backward(F.cross_entropy(model(x), t))
    return [p.grad.numpy().copy() for p in model.parameters()]


found, expected = run_ranks(3, ours), run_ranks(3, theirs)
print("\n".join(found[0][0]))
model = make_model()  # and one process with the whole batch
F.cross_entropy(model(images), labels).backward()
for rank in range(3):
    for mine, ddp, p in zip(found[rank][1], expected[rank], model.parameters(), strict=True):
        assert np.allclose(mine, ddp, rtol=0, atol=1e-12)
        assert np.allclose(mine, p.grad.numpy(), rtol=0, atol=1e-12)
print("equal to dg.DistributedDataParallel, and to one process, to 1e-12")

# %% [markdown]
# Read the log: bucket 0 leaves while the gradients of the lower layers do not exist yet. This is the overlap.
#
# In distgrad the same is [parallel/reducer.py](../../distgrad/parallel/reducer.py), `grad_ready`. It saves one thing more: parameters'
# gradients *are* slices of the buckets, so that nothing is copied.
#
# ## For real
#
# Simulated ranks take turns, so nothing really goes on at the same time. Two processes under MPI do. `distgrad run` starts
# them; `dg.TimeSplit` says where each rank's time went. *Hidden* is communication under compute.

# %%
job = folder / "job.py"
job.write_text("""\
import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

world = dg.init()
dg.manual_seed(0)
layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)]
model = nn.Sequential(*layers)
optimizer = optim.SGD(model.parameters(), lr=0.01)
ddp = dg.DistributedDataParallel(model, bucket_mb=1)
rng = np.random.default_rng(world.rank)
x, t = rng.normal(size=(64, 784)).astype("float32"), rng.integers(0, 10, 64)
with dg.TimeSplit(ddp) as split:
    for _ in range(30):
        optimizer.zero_grad()
        ddp.backward(F.cross_entropy(model(x), t))
        optimizer.step()
world.print(split.summary())
world.print(split.table())
""")
said = distgrad("run", "-n", 2, job)
print(said)
assert "hidden under compute" in said

# %% [markdown]
# The numbers depend on the machine, and on what else it does. In one machine ranks sum in memory they share, and there is little to
# hide. Between machines it is different: on four of them with 1 Gbit/s each the network, not the processor, is what one waits for.
#
# **Question.** A step takes 100 ms of computing and 30 ms of communication, all hidden. You buy a processor twice as fast. What is
# the new step time, roughly? And with one four times as fast?
#
# <details><summary>Answer</summary>
#
# Backward is about two thirds of computing. At 50 ms of computing, 33 of them backward, 30 ms can just be hidden: 50 ms and a bit. At
# 25 ms, 17 of them backward, 13 ms stick out: about 38 ms in place of 25. Then it is time for fewer bytes: larger batches,
# compression, or a better network.
#
# </details>
#
# ## Exercise: cut the buckets
#
# Write the function that decides which parameters share a bucket. Given the sizes of the parameters in the model's order, and
# a limit, return lists of indices:
#
# * in the order of readiness: the last parameter first,
# * a bucket is closed when the next parameter would make it larger than the limit,
# * a parameter that is larger than the limit by itself has a bucket of its own.


# %% exercise
def cut(sizes, limit):
    """Return buckets, lists of indices into ``sizes``, in the order in which backward fills them."""
    buckets = []
    # your lines
    return buckets


# %% check
def check_cut():
    found = cut([4, 3, 2, 1], 5)
    assert found, "no buckets: write your lines"
    flat = [i for bucket in found for i in bucket]
    assert sorted(flat) == [0, 1, 2, 3], (
        f"each of the 4 parameters must be in one bucket; you have {found}"
    )
    assert flat != [0, 1, 2, 3], (
        "that is the model's order. Backward makes the last gradient first; a bucket that holds the first layer is "
        "complete at the very end, and all others would wait behind it"
    )
    assert flat == [3, 2, 1, 0], f"the order of readiness is 3, 2, 1, 0; you have {found}"
    assert all(found), f"there is an empty bucket: {found}"
    heaviest = max(sum([4, 3, 2, 1][i] for i in bucket) for bucket in found)
    assert heaviest <= 5, (
        f"a bucket holds {heaviest}, more than the limit of 5: {found}. Look before you add"
    )
    assert found == [[3, 2], [1], [0]], (
        f"sizes 1, 2, 3, 4 in order of readiness fill [[3, 2], [1], [0]], not {found}"
    )
    assert cut([1, 9, 1], 5) == [[2], [1], [0]], (
        "a parameter above the limit gets a bucket of its own, and ends the one before"
    )
    assert cut([5, 5], 5) == [[1], [0]], "5 fits into a limit of 5, but only once"
    assert cut([7], 5) == [[0]], (
        "one parameter, however large, is one bucket, with no empty one before it"
    )
    buckets = cut(parameters, 10e6)
    left = 1e3 * (flights(buckets)[-1][1] - BACKWARD)
    print(f"Right. With 10 MB: {len(buckets)} buckets, {left:.1f} ms not hidden.")


check_cut()


# %% solution
def cut(sizes, limit):
    buckets, filled = [], None
    for index in reversed(range(len(sizes))):
        if filled is None or filled + sizes[index] > limit:
            buckets.append([])
            filled = 0
        buckets[-1].append(index)
        filled += sizes[index]
    return buckets


# %% [markdown]
# **To think about.** The last bucket is never hidden. Would you make it smaller than the others? What does that cost?
#
# <details><summary>Answer</summary>
#
# It helps as long as the ones before it are through by then: what sticks out is the last bucket and whatever still queues before it. A smaller
# one costs one more time the latency. (PyTorch makes the *first* bucket small, so that the network starts early.)
#
# </details>
#
# **Next:** [notebook 6](6-bits.ipynb). Three ranks and one process agreed to twelve digits, not to sixteen. Why does that
# matter, and can it be had?
