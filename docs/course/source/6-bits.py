# %% [markdown]
# # 6. Bits
#
# *Build your own data-parallel trainer, notebook 6 of 7. About 40 minutes.*
#
# Your trainer of notebook 4 gave other last digits on 2, 3 and 5 ranks. Does it matter? A difference of $10^{-16}$ grows as training
# goes on, until two runs are two different networks. Then no one can say whether a change of the code changed the result or
# only the machine did; a run cannot be repeated, nor resumed on another number of ranks; and a bug that shows up on 64 ranks
# cannot be hunted on one. At the end of this notebook you can
#
# * say why sums of floating-point numbers depend on their order,
# * make a sum whose bits do not depend on who computes which part of it,
# * draw random numbers that do not depend on it either, and name what still breaks the promise.

# %%
import hashlib
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import TreeSum, nodes_of, run_ranks
from distgrad.nn import functional as F

# %% [markdown]
# ## Order
#
# A double has 53 binary digits. The sum of two of them usually has more, and is rounded. So addition is commutative, but not
# associative:

# %%
print((0.1 + 0.2) + 0.3)
print(0.1 + (0.2 + 0.3))
print((1e16 + 1.0) - 1e16, "and", (1e16 - 1e16) + 1.0)

# %% [markdown]
# Sum the same thousand numbers in 2,000 different orders, in single precision, as networks do:

# %%
rng = np.random.default_rng(0)
numbers = rng.normal(size=1000).astype("float32")


def in_order(values):
    return np.add.accumulate(values)[-1]  # strictly from left to right


sums = np.array([in_order(rng.permutation(numbers)) for _ in range(2000)])
exact = np.sum(numbers.astype("float64"))
plt.figure(figsize=(6, 2.8))
plt.hist((sums - exact) * 1e6, bins=60)
plt.xlabel("sum minus exact sum, millionths")
plt.ylabel("orders")
plt.title(f"{len(set(sums.tolist()))} different sums of the same numbers", fontsize=10)
plt.tight_layout()
assert len(set(sums.tolist())) > 10

# %% [markdown]
# None of them is wrong. Each is as near to the truth as one may ask. But they are different.
#
# Now let $p$ ranks sum gradients in the obvious way: each sums its own part from left to right, then the parts are summed.
# Each number of ranks is another order.

# %%
gradients = rng.normal(size=(8, 1000)).astype("float32")  # of 8 parts of a batch, 1000 parameters


def obvious_sum(ranks):
    own = [in_order(part) for part in np.array_split(gradients, ranks)]
    return in_order(np.array(own))


def digest(array):
    """Return the first 16 digits of the SHA-256 of an array's bytes: equal only for equal bits."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


for ranks in (1, 2, 3, 4, 8):
    print(f"{ranks} ranks: {digest(obvious_sum(ranks))}")
assert len({digest(obvious_sum(ranks)) for ranks in (1, 2, 3)}) > 1

# %% [markdown]
# (Eight ranks with one part each add from left to right, like one rank with all of them.)
#
# **Question.** How many of the 1,000 sums differ between 1 and 3 ranks? Guess, then count with `np.mean(obvious_sum(1) != obvious_sum(3))`.
#
# <details><summary>Answer</summary>
#
# About half of them. With eight summands roughly every second sum is rounded to a neighbour.
#
# </details>
#
# How much does a difference in the last digit matter? Train two networks on the digits that differ in *one bit of one weight*.

# %%
data, _ = dg.data.digits()
images = np.stack([np.asarray(data[i][0]).ravel() for i in range(len(data))])
labels = np.array([int(data[i][1]) for i in range(len(data))])


def flip_last_bit(weight):
    """Replace one element of a float32 tensor by its next larger neighbour."""
    with dg.no_grad():
        weight[0, 20] = np.nextafter(np.float32(weight[0, 20].item()), np.float32(9))


def weights_along_training(flip, steps=500):
    dg.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    if flip:
        flip_last_bit(model[0].weight)
    optimizer = optim.Adam(model.parameters(), lr=0.03)  # rather large: so it goes fast
    order, path = np.random.default_rng(0), []
    for _ in range(steps):
        chosen = order.integers(0, len(images), 32)
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        path.append(model[2].weight.detach().numpy().copy())
    return np.array(path)


one, other = weights_along_training(flip=False), weights_along_training(flip=True)
distance = np.max(np.abs(one - other), axis=(1, 2))
plt.figure(figsize=(6, 2.8))
plt.semilogy(np.maximum(distance, 1e-9), label="largest difference")
plt.axhline(np.max(np.abs(one[-1])), ls=":", color="0.5", label="largest weight")
plt.xlabel("step")
plt.legend()
plt.tight_layout()
assert np.max(distance) > 1000 * np.finfo("float32").eps

# %% [markdown]
# ## A sum that does not care who sums
#
# The order must not depend on the number of ranks. So we fix it once. Cut the batch into $S$ **logical shards**, a
# power of two, and never into anything else: 4, say, whether one rank computes all four or four ranks one each. The shards' gradients
# are the leaves of a balanced binary tree, and the sum is *defined* as the value at its root, each node being left plus right:
#
# $$\big(g_0 + g_1\big) + \big(g_2 + g_3\big) .$$
#
# Who computes a node does not matter: the two summands are the same bits, so the sum is. A rank that has a contiguous run of shards
# can compute every node whose leaves it has all. These are at most a handful of subtrees; the rest is done together.


# %%
def subtrees(run):
    """Return the largest subtrees inside a run of shards: pairs (level, index), 2**level leaves each."""
    found, start = [], run.start
    while start < run.stop:
        level = 0
        while start % (2 << level) == 0 and start + (2 << level) <= run.stop:
            level += 1  # the next larger subtree begins here too, and still fits
        found.append((level, start >> level))
        start += 1 << level
    return found


def own_part(run, leaves):
    """Sum each subtree of the run, in tree order: what a rank does alone."""

    def value(level, index):
        if level == 0:
            return leaves[index]
        return value(level - 1, 2 * index) + value(level - 1, 2 * index + 1)

    return {node: value(*node) for node in subtrees(run)}


def finish(parts, shards):
    """Combine the ranks' subtrees up to the root: what the ranks do together."""
    known = {node: value for part in parts for node, value in part.items()}
    level = 0
    while 1 << level < shards:
        for index in range(shards >> (level + 1)):
            left, right = (level, 2 * index), (level, 2 * index + 1)
            if left in known and right in known:
                known[level + 1, index] = known[left] + known[right]
        level += 1
    return known[level, 0]


def runs_of(shards, ranks):
    """Return which shards each rank has: contiguous, as even as can be."""
    bounds = [shards * r // ranks for r in range(ranks + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]


for ranks in range(1, 9):
    runs = runs_of(8, ranks)
    total = finish([own_part(run, gradients) for run in runs], 8)
    print(
        f"{ranks} ranks: {digest(total)}  subtrees of each: {[len(subtrees(run)) for run in runs]}"
    )
    assert digest(total) == digest(finish([own_part(range(8), gradients)], 8))

# %% [markdown]
# Eight times the same, on any number of ranks, 3, 5 and 7 too.


# %%
def draw(ranks, ax, shards=8):
    """Draw the tree; nodes that a rank computes alone have its colour."""
    alone = {}
    for r, run in enumerate(runs_of(shards, ranks)):
        for level, index in subtrees(run):
            for down in range(level + 1):
                for i in range(index << down, (index + 1) << down):
                    alone[level - down, i] = r
    top = shards.bit_length() - 1
    for level in range(top + 1):
        for index in range(shards >> level):
            px = (index + 0.5) * (1 << level)
            if level < top:
                ax.plot(
                    [px, (index // 2 + 0.5) * (2 << level)],
                    [level, level + 1],
                    color="0.7",
                    zorder=0,
                )
            rank = alone.get((level, index))
            ax.scatter(px, level, s=130, color="w" if rank is None else f"C{rank}", edgecolor="k")
    ax.set_title("1 rank" if ranks == 1 else f"{ranks} ranks", fontsize=10)
    ax.set_ylim(-0.4, top + 0.4)
    ax.axis("off")


fig, axes = plt.subplots(1, 3, figsize=(9, 2.2))
for ax, ranks in zip(axes, (1, 3, 4), strict=True):
    draw(ranks, ax)
plt.tight_layout()

# %% [markdown]
# White nodes are computed together. How many bytes does that take? With the right algorithm as few as the ring
# ([comm/algorithms/tree.py](../../distgrad/comm/algorithms/tree.py)). In distgrad the two functions are `nodes_of` and `TreeSum`:

# %%
for run in (range(0, 8), range(2, 5), range(5, 8)):
    assert nodes_of(run) == subtrees(run)
    tree = TreeSum(run)
    for shard in run:
        tree.add(shard, gradients[shard].copy())
    for (level, index, theirs), ours in zip(
        tree.parts, own_part(run, gradients).values(), strict=True
    ):
        assert np.array_equal(theirs, ours), (level, index)
print("the same subtrees, the same bits")

# %% [markdown]
# ## Shapes matter too
#
# Fixing the sum over shards is not enough. A matrix product is a sum inside, and a library chooses its order by the shape:

# %%
A, B = rng.normal(size=(96, 300)).astype("float32"), rng.normal(size=(300, 64)).astype("float32")
for rows in (96, 48, 5, 1):
    same = np.mean((A @ B)[:rows] == A[:rows] @ B)
    print(f"the first {rows:2} rows alone: {same:.0%} of the elements have the same bits")

# %% [markdown]
# (What you see depends on the processor and on the BLAS library.) So a rank with two shards must *not* glue them together: it runs
# forward and backward for each by itself, with the same shapes on any number of ranks. This is why `batch.shards` is a loop.
#
# ## The whole training
#
# `dg.init(shards=4)` makes this promise. Here is a network with all that might break it, batch-norm and dropout, on 1, 2, 3
# and 4 ranks. The digest is of every parameter and buffer.


# %%
def training(shards, seen=None):
    """Return a function that trains on the ranks it runs on, and returns the digest of the model."""

    def body():
        world = dg.init(shards=shards)
        dg.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(32, 10),
        )
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ddp = dg.DistributedDataParallel(model, check_every=1)
        loader = dg.data.DataLoader(data, global_batch_size=50, shuffle=True, seed=0)
        for step, batch in enumerate(loader):  # 28 batches of 50, and one of 38
            optimizer.zero_grad()
            for x, t in batch.shards:
                ddp.backward(F.cross_entropy(model(x), t))
            optimizer.step()
            if seen is not None:
                seen(world.rank, step, model)
        return digest(np.concatenate([v.numpy().ravel() for v in model.state_dict().values()]))

    return body


print("with shards=4")
found = set()
for ranks in (1, 2, 3, 4):
    of_ranks = set(run_ranks(ranks, training(4)))
    print(f"  {ranks} ranks: {of_ranks}")
    found |= of_ranks
assert len(found) == 1

print("without shards, each rank is one")
without = {ranks: set(run_ranks(ranks, training(None))) for ranks in (1, 2, 3)}
for ranks, of_ranks in without.items():
    print(f"  {ranks} ranks: {of_ranks}")
assert len(set.union(*without.values())) == 3

# %% [markdown]
# One digest in the first table, for ten ranks in four worlds. In the second the ranks of each world agree among themselves, and the worlds
# differ.
#
# **Question.** What does it cost to use `shards=8` on one rank, compared with one shard? When would you still do it?
#
# <details><summary>Answer</summary>
#
# Eight small passes in place of a large one: more overhead, less efficient matrix products. You do it when you want to repeat, on your
# laptop, exactly what eight ranks of a cluster did. Choose $S$ once, as the largest number of ranks you may want.
#
# </details>
#
# ## What breaks it
#
# | what | why | what helps |
# |---|---|---|
# | another number of shards | other shapes, another tree | choose $S$ once |
# | another processor, NumPy or BLAS | other orders inside a product | distgrad compares them across ranks at the start |
# | `np.random` in the model | a generator counts its calls, and ranks make different calls | `dg.random`; the exercise below |
# | a branch on the rank or on local data | ranks do different things | sum over the ranks first, then decide |
# | statistics of "the first rank" | which samples those are depends on the number of ranks | combine the shards', in tree order |
# | the clock, a `set` of strings, file order | not the same twice | sort; pass the seed |
#
# And if something does break it, say so early. With `check_every` the ranks compare digests of their weights. A single
# bit, on one of three ranks:


# %%
def flip_one_bit(rank, step, model):
    if rank == 2 and step == 5:
        flip_last_bit(model[1].weight)


try:
    run_ranks(3, training(4, seen=flip_one_bit))
    raise AssertionError("nobody noticed")
except dg.MismatchError as error:
    print(error)

# %% [markdown]
# ## Exercise: dropout on any number of ranks
#
# Dropout sets random elements to zero. The usual generator has a state: each call moves it on. A rank that computes shards 2 and 3
# has made other calls than a rank that computes all four, so shard 2 would get another mask.
#
# The way out is a generator without memory: a function of a **key**. Who asks with the same key gets the same numbers,
# whoever asked what before. NumPy has one that is made for this: `np.random.Philox(key=[a, b])` takes two whole numbers below
# $2^{64}$, and `np.random.Generator(np.random.Philox(key=…)).random(shape)` gives numbers in $[0, 1)$.
#
# Write `keep_mask`: true with probability `1 - p`. It must depend on seed, step, shard and layer, and nothing else. Any two different
# (step, shard, layer) must get different masks. Steps stay below $2^{32}$, shards and layers below $2^{16}$.


# %% exercise
def keep_mask(seed, step, shard, layer, shape, p):
    """Return an array of booleans, True for the elements that dropout keeps."""
    return None  # your line


# %% check
def check_mask():
    shape = (50, 40)
    first = keep_mask(7, 3, 2, 1, shape, 0.2)
    assert first is not None, "keep_mask returns None: write your line"
    assert np.shape(first) == shape, f"the mask must have shape {shape}, not {np.shape(first)}"
    assert first.dtype == bool, f"the mask must be booleans, not {first.dtype}: compare with p"
    keep_mask(7, 3, 0, 0, (9,), 0.5)  # another call in between
    assert np.array_equal(first, keep_mask(7, 3, 2, 1, shape, 0.2)), (
        "asked again for the same key, it gave another mask: it has a state. A rank that computed other shards before "
        "would get other numbers"
    )
    for name, other in {
        "seed": (8, 3, 2, 1),
        "step": (7, 4, 2, 1),
        "shard": (7, 3, 3, 1),
        "layer": (7, 3, 2, 0),
    }.items():
        assert not np.array_equal(first, keep_mask(*other, shape, 0.2)), (
            f"another {name} gives the same mask"
        )
    masks = {}
    for step in range(6):
        for shard in range(6):
            for layer in range(4):
                mask = keep_mask(7, step, shard, layer, shape, 0.2).tobytes()
                twin = masks.setdefault(mask, (step, shard, layer))
                assert twin == (step, shard, layer), (
                    f"(step, shard, layer) {twin} and {(step, shard, layer)} have the same mask: their keys collide. "
                    f"Do not add them up: give each its own bits of the key, as in (step << 32) | (shard << 16) | layer"
                )
    kept = np.mean(first)
    assert abs(kept - 0.8) < 0.04, f"with p=0.2 about 80 % are kept, not {kept:.0%}"
    far = [keep_mask(7, 2**31, s, 3, shape, 0.2).tobytes() for s in (0, 1, 2**15)]
    assert len(set(far)) == 3, (
        "large steps or shards collide: mind the widths of 32, 16 and 16 bits"
    )
    print("Right. Any rank can draw the mask of any shard.")


check_mask()


# %% solution
def keep_mask(seed, step, shard, layer, shape, p):
    key = [seed, (step << 32) | (shard << 16) | layer]
    return np.random.Generator(np.random.Philox(key=key)).random(shape) >= p


# %% [markdown]
# In distgrad this is [autograd/stream.py](../../distgrad/autograd/stream.py). There is a bonus: no generator's state belongs into
# a checkpoint. Which is where we go.
#
# **Next:** [notebook 7](7-failure.ipynb), the last: machines fail.
