# %% [markdown]
# # 2. The graph
#
# *Build your own data-parallel trainer, notebook 2 of 7. About 40 minutes.*
#
# In notebook 1 a program was a chain. Real programs are not: a value is used twice, one weight serves many samples, a
# bias is added to every row. In this notebook the chain becomes a **graph**, and two loops become an **engine** that
# records any NumPy program and differentiates it. It has about sixty lines. At the end you can
#
# * say why gradients of different paths are added, and in which order a graph must be walked,
# * undo broadcasting, which trips everyone who writes an engine for the first time,
# * train a network on real images with an engine of your own.

# %%
import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg
from distgrad import nn
from distgrad.nn import functional as F

# %% [markdown]
# ## Two paths
#
# Let $y = a \cdot b$ with $a = x + 1$ and $b = x^2$. A small change of $x$ reaches $y$ on two paths, and for small changes
# the effects add up:
#
# $$\frac{dy}{dx} = \frac{\partial y}{\partial a} \frac{da}{dx} + \frac{\partial y}{\partial b} \frac{db}{dx}
#                 = b \cdot 1 + a \cdot 2x .$$
#
# That is the whole rule for graphs: **the gradient of a value is the sum over all its uses.** Three things follow for an
# engine:
#
# 1. Gradients are *accumulated*: `+=`, not `=`.
# 2. A value may pass its gradient on only when all its uses have reported: uses first. An order in which every
#    value comes after all its uses is a **topological order** of the graph (walked backward).
# 3. Somebody must write down who used what. That record is called the **tape**.
#
# ## The engine
#
# A `Tensor` is an array that remembers where it came from: for each input, the vjp of notebook 1. An array that comes
# from nowhere is a **leaf**: a parameter, or data.


# %%
class Tensor:
    """An array that knows from which tensors it was made, and how to pull a gradient back to them."""

    def __init__(self, value, inputs=()):
        self.value = np.asarray(value, float)
        self.inputs = inputs  # pairs: (Tensor, vjp)
        self.grad = None

    def __add__(self, other):
        other = as_tensor(other)
        return Tensor(self.value + other.value, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other):
        other, a = as_tensor(other), self.value
        return Tensor(
            a * other.value, [(self, lambda g: g * other.value), (other, lambda g: g * a)]
        )

    def __matmul__(self, other):
        a, b = self.value, other.value
        return Tensor(a @ b, [(self, lambda g: g @ b.T), (other, lambda g: a.T @ g)])

    def tanh(self):
        h = np.tanh(self.value)
        return Tensor(h, [(self, lambda g: g * (1 - h * h))])

    def sum(self):
        return Tensor(np.sum(self.value), [(self, lambda g: g * np.ones_like(self.value))])

    def backward(self):
        """Add to ``grad`` of every leaf the derivative of this number by it."""
        gradients = {self: np.ones_like(self.value)}
        for tensor in uses_first(self):
            g = gradients.pop(tensor)  # complete: all uses have reported
            if not tensor.inputs:
                tensor.grad = g if tensor.grad is None else tensor.grad + g
            for source, vjp in tensor.inputs:
                share = unbroadcast(vjp(g), source.value.shape)
                gradients[source] = gradients[source] + share if source in gradients else share


def as_tensor(x):
    return x if isinstance(x, Tensor) else Tensor(x)


def uses_first(root):
    """Return all tensors behind ``root``, each after all of its uses."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:  # no recursion: a graph may be deeper than Python's stack
        tensor, inputs_done = stack.pop()
        if inputs_done:
            order.append(tensor)  # after all its inputs
        elif tensor not in seen:
            seen.add(tensor)
            stack.append((tensor, True))
            stack.extend((source, False) for source, _ in tensor.inputs)
    return order[::-1]


def unbroadcast(g, shape):
    return g  # for now


x = Tensor(3.0)
y = (x + 1) * (x * x)
y.backward()
print(f"y = {y.value}, dy/dx = {x.grad}, by hand b + a 2x = {3.0**2 + (3.0 + 1) * 2 * 3.0}")
assert x.grad == 33

# %% [markdown]
# `x` was used three times here (once in `x + 1`, twice in `x * x`), and nobody had to say so.
#
# A picture of the tape: each node is a tensor, each arrow says "was used by".


# %%
def draw(root, names, ax):
    """Draw the graph behind ``root``, leaves on the left; ``names`` maps tensors to labels."""
    depth = {}
    for tensor in reversed(uses_first(root)):  # inputs first
        depth[tensor] = max((depth[source] + 1 for source, _ in tensor.inputs), default=0)
    columns = {}
    for tensor, d in depth.items():
        columns.setdefault(d, []).append(tensor)
    place = {t: (d, (len(c) - 1) / 2 - i) for d, c in columns.items() for i, t in enumerate(c)}
    for tensor, (x1, y1) in place.items():
        for k, (source, _) in enumerate(tensor.inputs):
            bend = 0.15 + 0.2 * k
            arrow = {
                "arrowstyle": "-|>",
                "shrinkA": 22,
                "shrinkB": 22,
                "connectionstyle": f"arc3,rad={bend}",
            }
            ax.annotate("", (x1, y1), place[source], arrowprops=arrow)
        circle = {"boxstyle": "circle,pad=0.5", "fc": "#dbe9f6" if tensor.inputs else "#fde9c9"}
        ax.text(x1, y1, names.get(tensor, ""), ha="center", va="center", bbox=circle, fontsize=9)
    ax.set_xlim(-0.5, max(columns) + 0.5)
    ax.set_ylim(-1.3, 1.3)
    ax.axis("off")


x = Tensor(3.0)
a, b = x + 1, x * x
y = a * b
(one,) = (source for source, _ in a.inputs if source is not x)
fig, ax = plt.subplots(figsize=(6, 2.6))
draw(y, {x: "x", one: "1", a: "a", b: "b", y: "y"}, ax)
plt.tight_layout()

# %% [markdown]
# **Question.** Suppose `backward` walked the graph without an order: it takes any tensor that has a gradient, and passes that
# on at once. What goes wrong at `x`? And what would the result cost in a graph of 50 steps `x = x + x`?
#
# <details><summary>Answer</summary>
#
# At a leaf nothing goes wrong, as leaves only add up. But a value in the middle that has two uses would pass on the first
# gradient, and later the second again: right in the end if it passes on only the *new* part, but then each path is walked
# by itself. In the chain of 50 doublings there are $2^{50}$ paths. In topological order it is 50 steps.
#
# </details>

# %%
x = Tensor(1.0)
y = x
for _ in range(50):
    y = y + y
y.backward()
print(f"dy/dx = {x.grad:.0f} = 2^50, in 50 steps")
assert x.grad == 2**50

# %% [markdown]
# ## Broadcasting, and its transpose
#
# NumPy stretches arrays to fit each other: a bias of shape `(3,)` plus a batch of shape `(4, 3)` adds the bias to each of
# the four rows. Our `__add__` gives the gradient `g` back to both. For the bias that is the wrong shape:

# %%
bias, batch = Tensor(np.zeros(3)), Tensor(np.ones((4, 3)))
(batch + bias).sum().backward()
print("bias has shape", bias.value.shape, "and its gradient", bias.grad.shape)

# %% [markdown]
# The bias was *used four times*, once for each row, and the gradient of a value is the sum over its uses. So: what
# broadcasting has repeated, the gradient sums. Repeating a row is a linear map; summing is its transpose:
#
# $$\begin{pmatrix} I \\ I \\ I \\ I \end{pmatrix}^{\!\top} g = g_1 + g_2 + g_3 + g_4 .$$
#
# NumPy broadcasts in two ways: it puts new axes in front, and it stretches axes of length 1. We undo both, in one
# place for all operations.


# %%
def unbroadcast(g, shape):
    """Sum ``g`` over the axes along which an array of ``shape`` was repeated."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that were put in front
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


for shape in [(3,), (1, 3), (4, 1), (4, 3), ()]:
    small = Tensor(np.full(shape, 0.5))
    (small * Tensor(np.arange(12.0).reshape(4, 3))).sum().backward()
    print(f"{shape!s:8} gradient {small.grad.shape!s:8}", small.grad.tolist())
    assert small.grad.shape == shape

# %% [markdown]
# ## Train
#
# Two operations are missing for a classifier. The loss is the cross-entropy: minus the logarithm of the probability the
# network gave to the right digit, averaged over the batch. Its gradient by the scores is what notebook 1 asked at its
# end: *softmax minus one at the right place*.


# %%
def cross_entropy(scores, labels):
    z = scores.value - scores.value.max(axis=1, keepdims=True)
    log_p = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    rows, n = np.arange(len(labels)), len(labels)

    def vjp(g):
        d = np.exp(log_p)
        d[rows, labels] -= 1
        return g * d / n

    return Tensor(-log_p[rows, labels].mean(), [(scores, vjp)])


train, test = dg.data.digits()  # images of 8 × 8 pixels, from 0 to 1
images, labels = (
    np.asarray(column) for column in zip(*(train[i] for i in range(len(train))), strict=True)
)
images = images.reshape(len(images), 64).astype(float)
test_images, test_labels = (
    np.asarray(c) for c in zip(*(test[i] for i in range(len(test))), strict=True)
)
test_images = test_images.reshape(len(test_images), 64).astype(float)

fig, axes = plt.subplots(1, 8, figsize=(7, 1.2))
for ax, image, label in zip(axes, images, labels, strict=False):
    ax.imshow(image.reshape(8, 8), cmap="gray_r")
    ax.set_title(int(label), fontsize=9)
    ax.axis("off")
plt.tight_layout()

# %%
rng = np.random.default_rng(0)
parameters = [
    Tensor(rng.normal(size=(64, 32)) / 8),
    Tensor(np.zeros(32)),
    Tensor(rng.normal(size=(32, 10)) / 32**0.5),
    Tensor(np.zeros(10)),
]
W1, b1, W2, b2 = parameters


def scores_of(x):
    return (Tensor(x) @ W1 + b1).tanh() @ W2 + b2


losses = []
for _ in range(400):
    chosen = rng.integers(0, len(images), 64)  # a batch of 64
    loss = cross_entropy(scores_of(images[chosen]), labels[chosen])
    for p in parameters:
        p.grad = None
    loss.backward()
    for p in parameters:
        p.value -= 0.5 * p.grad
    losses.append(float(loss.value))

accuracy = np.mean(scores_of(test_images).value.argmax(axis=1) == test_labels)
plt.figure(figsize=(6, 2.8))
plt.semilogy(losses)
plt.xlabel("step")
plt.ylabel("loss of the batch")
plt.title(f"{accuracy:.1%} of {len(test_labels)} test images right", fontsize=10)
plt.tight_layout()
assert accuracy > 0.93

# %% [markdown]
# A trainer from nothing but NumPy. Take a breath: what PyTorch, JAX and distgrad do is this, with more operations, faster.
#
# ## The same in distgrad
#
# Put our trained weights into a distgrad model and compare the gradients of one batch. A `Linear` layer keeps its weight as
# (outputs, inputs), as PyTorch does: ours, transposed.

# %%
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()
with dg.no_grad():
    for theirs, ours in zip(model.parameters(), parameters, strict=True):
        theirs.copy_(ours.value.T)

x, t = images[:100], labels[:100]
for p in parameters:
    p.grad = None
cross_entropy(scores_of(x), t).backward()
F.cross_entropy(model(x), t).backward()

for name, theirs, ours in zip(
    ("W1", "b1", "W2", "b2"), model.parameters(), parameters, strict=True
):
    difference = np.max(np.abs(theirs.grad.numpy() - ours.grad.T))
    print(f"{name}: largest difference {difference:.0e}")
    assert difference < 1e-12

# %% [markdown]
# Equal to twelve digits. (Not to the bit: sums in another order are rounded differently. Notebook 6 is about that.)
#
# Where are our sixty lines in distgrad? Open the files and find them again:
#
# | here | in distgrad |
# |---|---|
# | `Tensor.__mul__` and its two lambdas | [ops/elementwise.py](../../distgrad/ops/elementwise.py): `multiply` |
# | `inputs`, the tape | [autograd/node.py](../../distgrad/autograd/node.py): `Node` |
# | `uses_first` | [autograd/engine.py](../../distgrad/autograd/engine.py): newest first, which is a topological order |
# | the loop of `backward`, `unbroadcast` | [autograd/walk.py](../../distgrad/autograd/walk.py) |
#
# One thing there has no counterpart here: the engine counts how many uses of each leaf are left, so that it knows the moment
# when a gradient is *final*, long before backward is over. A data-parallel trainer lives on that moment (notebook 5).
#
# **Question.** Why does distgrad's engine sort by age and need no search like ours?
#
# <details><summary>Answer</summary>
#
# A tensor is made after all of its inputs. So whoever uses it is younger, and "youngest first" is an order in which every
# tensor comes after all of its uses. Each node needs only a number that counts up.
#
# </details>
#
# ## Exercise: look-up in a table
#
# Language models begin with a table of vectors, one row for each word, and look up the rows of a sentence:
# `rows(table, words)` is `table[words]`. Write its vjp: given $g$, one row for each word of the sentence, return the gradient
# of the whole table.
#
# Before you write: which rows of the table get no gradient? And which rule of this notebook says what happens to a word that
# occurs twice?


# %% exercise
def rows(table, words):
    """Return the tensor ``table[words]``: for each word (an integer) its row of the table."""

    def vjp(g):
        out = np.zeros_like(table.value)
        # your lines: g has one row for each word
        return out

    return Tensor(table.value[words], [(table, vjp)])


# %% check
def check_rows():
    table = Tensor(np.arange(12.0).reshape(4, 3))
    g = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    (rows(table, np.array([2, 0])) * g).sum().backward()
    assert np.any(table.grad), "the gradient is zero everywhere: write your lines in vjp"
    assert not table.grad[[1, 3]].any(), "rows 1 and 3 were not looked up: their gradient is zero"
    assert np.array_equal(table.grad[[2, 0]], g), (
        f"rows 2 and 0 must get {g}, not {table.grad[[2, 0]]}"
    )
    table.grad = None
    (rows(table, np.array([1, 1])) * g).sum().backward()
    assert not np.array_equal(table.grad[1], g[1]), (
        "word 1 occurs twice and got the gradient of its last use alone. `out[words] += g` writes each "
        "row once, even if it is named twice; look up np.add.at"
    )
    assert np.array_equal(table.grad[1], [11, 22, 33]), (
        f"row 1 must get the sum of its uses, not {table.grad[1]}"
    )
    theirs = dg.Tensor(table.value, requires_grad=True)
    (theirs[np.array([1, 1])] * g).sum().backward()
    assert np.array_equal(table.grad, theirs.grad.numpy())
    print("Right, and equal to distgrad's.")


check_rows()


# %% solution
def rows(table, words):
    def vjp(g):
        out = np.zeros_like(table.value)
        np.add.at(out, words, g)  # one addition for each word, repeated ones too
        return out

    return Tensor(table.value[words], [(table, vjp)])


# %% [markdown]
# **Next:** [notebook 3](3-one-step.ipynb) goes through one single step of training with a pencil, and then with a debugger.
