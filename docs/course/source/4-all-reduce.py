# %% [markdown]
# # 4. All-reduce, on paper and simulated
#
# *Build your own data-parallel trainer, notebook 4 of 7. About 45 minutes.*
#
# In data-parallel training each rank computes the gradient of its part of the batch. Then every rank needs the sum over
# all ranks. That one operation, **all-reduce**, is the heart of the trade. Here you derive why the sum is right, write a
# small simulator in which ranks send each other messages, and build the ring, the algorithm that moves the fewest bytes.
# At the end you can
#
# * weight the gradients of uneven parts, and say what goes wrong without,
# * write the ring, count its bytes, and draw it,
# * make a deadlock, read its message, and avoid it.

# %%
from collections import defaultdict, deque
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg
from distgrad.comm import run_ranks

# %% [markdown]
# ## The gradient of a sum is the sum of gradients
#
# The loss of a batch is the mean over its $N$ samples. Cut the batch into parts, $n_r$ samples on rank $r$:
#
# $$\nabla \frac1N \sum_{i=1}^N \ell_i = \sum_r \frac{n_r}{N} \, \nabla \Big( \frac1{n_r} \sum_{i \in \text{part } r} \ell_i \Big) .$$
#
# Each rank takes the gradient of *its own mean loss*, multiplies it by its share $n_r / N$, and the sum over the ranks is the
# gradient of the whole batch: the same number that one process would get. Data parallelism is no approximation.
#
# Let the model be as small as can be, a softmax regression on the digits: one matrix, and a gradient in one line.

# %%
train, _ = dg.data.digits()
images = np.stack([np.asarray(train[i][0]).ravel() for i in range(len(train))]).astype(float)
labels = np.array([int(train[i][1]) for i in range(len(train))])


def mean_gradient(W, x, t):
    """Return the gradient by W of the mean cross-entropy of scores x @ W."""
    scores = x @ W
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(t)), t] -= 1  # softmax minus one at the right place
    return x.T @ p / len(t)


W = np.random.default_rng(0).normal(size=(64, 10)) / 8
x, t = images[:100], labels[:100]
whole = mean_gradient(W, x, t)

bounds = [0, 60, 90, 100]  # uneven parts: 60, 30 and 10 samples
parts = [(x[a:b], t[a:b]) for a, b in pairwise(bounds)]
weighted = sum(len(part[1]) / 100 * mean_gradient(W, *part) for part in parts)
mean_of_means = sum(mean_gradient(W, *part) for part in parts) / 3

print(f"weighted by samples: off by {np.max(np.abs(weighted - whole)):.0e}")
print(f"mean of the ranks' means: off by {np.max(np.abs(mean_of_means - whole)):.0e}")
assert np.allclose(weighted, whole, rtol=0, atol=1e-14)
assert not np.allclose(mean_of_means, whole, rtol=0, atol=1e-4)

# %% [markdown]
# **Question.** Many programs average the ranks' gradients, without weights. When is that right? Where does it go wrong in
# practice, and whom does it favour?
#
# <details><summary>Answer</summary>
#
# It is right when all ranks have the same number of samples. It goes wrong in the last batch of an epoch, with a number of
# ranks that does not divide the batch, and for language models whose sequences have different lengths. Samples on a rank that
# has few of them count more.
#
# </details>
#
# ## A simulator of ranks
#
# To play with messages we need ranks. A rank will be a **generator**: it runs until it wants to send or receive, and
# *yields* what it wants. The simulator is the network: it keeps messages on their way, and lets a rank go on as soon as what it
# waits for has come. If nobody can go on, it says who waits for whom.


# %%
class DeadlockError(Exception):
    """Every rank that has not finished waits for another."""


class Network:
    """Runs one generator for each rank; counts what each sends."""

    def __init__(self, size):
        self.size = size
        self.messages = [0] * size
        self.bytes = [0] * size
        self._flying = defaultdict(deque)  # (source, dest) -> arrays, in the order they were sent

    def run(self, program, *arguments):
        """Run program(rank, size, argument of this rank, …) on all ranks; return what they return."""
        ranks = [program(r, self.size, *(a[r] for a in arguments)) for r in range(self.size)]
        results, wish = [None] * self.size, dict.fromkeys(range(self.size))
        while wish:
            moved = [r for r in [*wish] if self._advance(r, ranks[r], wish, results)]
            if not moved:
                who = ", ".join(f"rank {r} waits for rank {w[1]}" for r, w in wish.items())
                raise DeadlockError(f"nobody can go on: {who}")
        return results

    def _advance(self, r, rank, wish, results):
        """Let rank r go on as far as it can; return whether it moved."""
        moved = False
        while True:
            found = None
            if wish[r] is not None:  # it waits for a message
                box = self._flying[wish[r][1], r]
                if not box:
                    return moved
                found = box.popleft()
            moved = True
            try:
                request = rank.send(found)
                while request[0] == "send":
                    _, dest, array = request
                    self._flying[r, dest].append(np.array(array))  # a copy: it is on the wire now
                    self.messages[r] += 1
                    self.bytes[r] += array.nbytes
                    request = rank.send(None)
                wish[r] = request
            except StopIteration as end:
                results[r] = end.value
                del wish[r]
                return True


# %% [markdown]
# A first program: everybody sends its array to rank 0, which adds up and sends the sum back.


# %%
def by_rank_0(rank, size, array):
    """All-reduce: replace the array by the sum over all ranks, in place."""
    if rank == 0:
        for source in range(1, size):
            array += yield "recv", source
        for dest in range(1, size):
            yield "send", dest, array
    else:
        yield "send", 0, array
        array[...] = yield "recv", 0
    return array


arrays = [np.arange(5.0) * 10**r for r in range(3)]
network = Network(3)
print(network.run(by_rank_0, arrays)[2])
print("bytes sent by each rank:", network.bytes)

# %% [markdown]
# It works, and it does not scale: rank 0 sends $(n-1) S$ bytes if the array has $S$, and receives as many. All the other ranks
# wait for its one link. With 100 ranks and a model of 400 MB these are 40 GB in each step.
#
# ## The ring
#
# Let every rank work all the time. Put the ranks in a circle; each sends to its right neighbour and receives from its left
# one. Cut the array into $n$ slices. In $n - 1$ steps, each rank passes one slice on, and adds what it has to the slice that
# arrives. Then each rank has one slice that is complete: that was a **reduce-scatter**. In $n - 1$ more steps the complete
# slices go around: an **all-gather**.
#
# **On paper.** Take three ranks with the arrays $(1,1,1)$, $(10,10,10)$ and $(100,100,100)$; each number is a slice. A digit then
# tells whose summand is in: 110 is the sum of ranks 1 and 2. Rank $r$ begins by sending slice $r - 1$ (counted in a circle: rank 0 sends
# slice 2). Draw the nine numbers after each of the four steps. Which slice does rank $r$ complete? Then run the cell.


# %%
def ring(rank, size, array, history):
    """All-reduce by a ring: reduce-scatter, then all-gather; in place."""
    slices = np.array_split(array, size)  # views
    right, left = (rank + 1) % size, (rank - 1) % size
    history.append(array.copy())
    for step in range(size - 1):  # reduce-scatter
        yield "send", right, slices[(rank - 1 - step) % size]
        theirs = yield "recv", left
        mine = slices[(rank - 2 - step) % size]
        np.add(theirs, mine, out=mine)
        history.append(array.copy())
    for step in range(size - 1):  # all-gather
        yield "send", right, slices[(rank - step) % size]
        slices[(rank - 1 - step) % size][...] = yield "recv", left
        history.append(array.copy())
    return array


arrays = [np.full(3, 10.0**r) for r in range(3)]
histories = [[] for _ in range(3)]
Network(3).run(ring, arrays, histories)

fig, axes = plt.subplots(1, 5, figsize=(9, 2.2))
titles = ["start", "step 1", "step 2: one slice each", "step 3", "step 4: all"]
for step, (ax, title) in enumerate(zip(axes, titles, strict=True)):
    table = np.array([history[step] for history in histories])
    summands = [[f"{int(v)}".count("1") for v in row] for row in table]
    ax.imshow(summands, cmap="Blues", vmin=0, vmax=4)
    for r in range(3):
        for s in range(3):
            ax.text(s, r, f"{int(table[r, s]):03}", ha="center", va="center", fontsize=9)
    ax.set_title(title, fontsize=9)
    ax.set_xticks(range(3), [f"slice {s}" for s in range(3)], fontsize=6)
    ax.set_yticks(range(3), [f"rank {r}" for r in range(3)] if step == 0 else [""] * 3, fontsize=8)
plt.tight_layout()
assert all(np.array_equal(a, [111, 111, 111]) for a in arrays)

# %% [markdown]
# Rank $r$ completes slice $r$. And in each step *every* rank sends and receives exactly one slice: nobody is idle, no link
# carries more than the others.
#
# ## Count the bytes
#
# $2(n-1)$ steps of a slice of $S/n$ bytes: each rank sends
#
# $$2 \, \frac{n-1}{n} \, S .$$
#
# That is less than $2S$, **however many ranks there are**. No algorithm can do with fewer bytes for each rank (Patarasuk and
# Yuan, 2009): nearly every summand has to leave its rank, and nearly every sum has to come back.

# %%
sizes = np.arange(2, 17)
busiest = {"by rank 0": [], "ring": []}
for n in sizes:
    count = 240 * int(n)
    for name, program in (("by rank 0", by_rank_0), ("ring", ring)):
        network = Network(int(n))
        arguments = [[np.ones(count) for _ in range(n)]] + (
            [[[] for _ in range(n)]] if program is ring else []
        )
        network.run(program, *arguments)
        busiest[name].append(max(network.bytes) / (8 * count))

plt.figure(figsize=(6, 3))
for name, found in busiest.items():
    plt.plot(sizes, found, "o-", markersize=3, label=name)
plt.plot(sizes, 2 * (sizes - 1) / sizes, "k:", label="2 (n-1) / n")
plt.xlabel("ranks n")
plt.ylabel("sent by the busiest rank, in arrays")
plt.legend()
plt.tight_layout()
assert np.allclose(busiest["ring"], 2 * (sizes - 1) / sizes)

# %% [markdown]
# **Question.** The ring takes $2(n-1)$ steps, one after another. If a message takes at least 30 µs however short it is, how long
# does an all-reduce of a single number take on 1,000 ranks? When would you use another algorithm?
#
# <details><summary>Answer</summary>
#
# $1998 \times 30$ µs, 60 ms. For short arrays use an algorithm with few steps: along a tree, $2 \log_2 n = 20$ steps. The
# exercise below is one of these. Notebook 5 puts numbers to it.
#
# </details>
#
# ## Deadlock
#
# Let us change the order of two lines: receive first, then send. Every rank waits for its left neighbour, which waits for
# its own left neighbour, all around the circle.


# %%
def receive_first(rank, size, array):
    left, right = (rank - 1) % size, (rank + 1) % size
    theirs = yield "recv", left
    yield "send", right, array
    return theirs


try:
    Network(3).run(receive_first, [np.ones(2)] * 3)
except DeadlockError as error:
    print(error)

# %% [markdown]
# A real program would just stand still, at night, on a cluster, with no message. This is why it pays to run a parallel program
# in a simulator first. distgrad has one: `run_ranks(n, function)` runs a function on $n$ ranks in this process. Its
# message names the line of each rank.


# %%
def receive_first_again():
    comm = dg.init().comm
    theirs = comm.recv(None, (comm.rank - 1) % comm.size)
    comm.send(np.ones(2), (comm.rank + 1) % comm.size)
    return theirs


try:
    run_ranks(3, receive_first_again)
    raise AssertionError("no deadlock")
except dg.DeadlockError as error:
    print("\n".join(line for line in str(error).splitlines() if "rank" in line or "recv(" in line))

# %% [markdown]
# Collectives go wrong in another way: one rank calls something else than the others. The sums would be garbage. distgrad compares,
# before data move, what every rank is in:


# %%
def other_order():
    comm = dg.init().comm
    names = ["weight", "bias"] if comm.rank != 2 else ["bias", "weight"]
    for name in names:
        comm.all_reduce(np.ones(4), name=name)


try:
    run_ranks(3, other_order)
    raise AssertionError("no mismatch")
except dg.MismatchError as error:
    print(error)

# %% [markdown]
# ## The ring of distgrad
#
# It is a generator, too: [comm/algorithms/ring.py](../../distgrad/comm/algorithms/ring.py). Read its `reduce_scatter`; you know
# every line but one (it receives the next slice while it still adds the last one). It is in the same order, so even the
# rounding is the same. And the bytes it counts are ours.


# %%
def both():
    comm = dg.init().comm
    array = np.random.default_rng(comm.rank).normal(size=100)  # 100 is not divisible by 3
    before = comm.bytes_sent
    comm.all_reduce(array, algorithm="ring")
    return array, comm.bytes_sent - before


theirs = run_ranks(3, both)
ours = [np.random.default_rng(rank).normal(size=100) for rank in range(3)]
network = Network(3)
network.run(ring, ours, [[] for _ in range(3)])
for rank in range(3):
    assert np.array_equal(theirs[rank][0], ours[rank])  # to the bit
    assert theirs[rank][1] == network.bytes[rank]
print("equal to the bit; bytes sent by each rank:", network.bytes)

# Messages may arrive in any order, and ranks may run in any order. A schedule draws one.
for schedule in range(20):
    found = run_ranks(3, both, schedule=schedule)
    assert all(np.array_equal(found[r][0], ours[r]) for r in range(3))
print("twenty other schedules: the same bits")

# %% [markdown]
# ## Train with it
#
# Now everything is there for a data-parallel trainer: parts of the batch, weights, the ring, a step that is the same on every rank.


# %%
def trainer(rank, size, log):
    """Train on this rank's part of each batch, and leave the weights in ``log``."""
    W = np.random.default_rng(0).normal(size=(64, 10)) / 8  # the same on every rank
    order = np.random.default_rng(1)  # the same on every rank: all know the whole batch
    for _ in range(50):
        batch = order.integers(0, len(images), 100)
        own = np.array_split(batch, size)[rank]  # uneven: 34, 33, 33
        gradient = len(own) / len(batch) * mean_gradient(W, images[own], labels[own])
        yield from ring(rank, size, gradient.reshape(-1), [])
        W -= 0.5 * gradient
    log.append(W)


def trained_on(size):
    logs = [[] for _ in range(size)]
    Network(size).run(trainer, logs)
    return [log[0] for log in logs]


alone = trained_on(1)[0]
for size in (2, 3, 5):
    found = trained_on(size)
    assert all(np.array_equal(W, found[0]) for W in found)  # all ranks have the same bits
    print(
        f"{size} ranks: all equal; off from one process by {np.max(np.abs(found[0] - alone)):.0e}"
    )
    assert np.allclose(found[0], alone, rtol=0, atol=1e-12)
print(f"accuracy {np.mean((images @ alone).argmax(axis=1) == labels):.1%}")

# %% [markdown]
# A trainer on any number of ranks, and every line is yours. Two things are left to wish for: it sends only after
# backward is over (notebook 5), and other numbers of ranks differ in the last digits (notebook 6).
#
# **Question.** Nothing ever sends the *weights*. Why do they stay the same on all ranks?
#
# <details><summary>Answer</summary>
#
# They begin equal (the same seed), and every rank subtracts the same bits from them in every step. That is fragile: one rank
# with another seed, or a random number more, and they drift apart in silence. distgrad therefore sends rank 0's weights to
# all at the start, and compares them from time to time.
#
# </details>
#
# ## Exercise: recursive doubling
#
# An all-reduce for short arrays, on $n = 2^k$ ranks. In round $i$ each rank exchanges its whole array with the
# rank whose number differs in bit $i$, and both add. After round 0 pairs have the sum of 2, after round 1 fours have the sum of 4, and
# after $k = \log_2 n$ rounds everybody has it all.
#
# For 4 ranks write down who talks to whom in both rounds. Then fill in the loop. (`a ^ b` flips in `a` the bits that are set in `b`.)


# %% exercise
def doubling(rank, size, array):
    """All-reduce by recursive doubling, in place; size is a power of two."""
    distance = 1
    while distance < size:
        # your lines: send to the partner, receive from it, add
        distance *= 2
    return array
    yield  # makes this a generator even while it is empty; leave it there


# %% check
def check_doubling():
    for size in (2, 4, 8):
        network = Network(size)
        arrays = [np.arange(3.0) + 10.0**r for r in range(size)]
        right = sum(a.copy() for a in arrays)
        try:
            network.run(doubling, arrays)
        except DeadlockError as error:
            raise AssertionError(
                f"deadlock on {size} ranks ({error}). Both partners must name each other, and send first"
            ) from None
        assert sum(network.messages), "nobody has sent anything: write your lines in the loop"
        rounds = size.bit_length() - 1
        assert network.messages == [rounds] * size, (
            f"on {size} ranks each must send log2({size}) = {rounds} messages, not {network.messages}"
        )
        for r in range(size):
            assert np.array_equal(arrays[r], right), (
                f"on {size} ranks, rank {r} has {arrays[r]} and should have {right}: each round must *add* what "
                f"came to the array, in place"
            )
    print(
        "Right: log2(n) rounds. Each rank sends log2(n) times the array; the ring never more than twice."
    )


check_doubling()


# %% solution
def doubling(rank, size, array):
    distance = 1
    while distance < size:
        partner = rank ^ distance
        yield "send", partner, array
        array += yield "recv", partner
        distance *= 2
    return array


# %% [markdown]
# **To think about.** Do all ranks have the same bits at the end? (Rank 0 adds $a_0 + a_1$, rank 1 adds $a_1 + a_0$.) And is it the
# same sum, to the bit, as that of the ring?
#
# <details><summary>Answers</summary>
#
# Yes: $a_0 + a_1$ and $a_1 + a_0$ are the same bits, and so on in each round. No: the ring adds from left to right around the
# circle, and starts at another rank for each slice; doubling adds pairs, then fours. Notebook 6 is about this.
#
# </details>
#
# **Next:** [notebook 5](5-overlap.ipynb) hides the messages behind the computation.
