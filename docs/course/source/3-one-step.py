# %% [markdown]
# # 3. One step, on paper and in the debugger
#
# *Build your own data-parallel trainer, notebook 3 of 7. About 40 minutes, and a pencil.*
#
# A training step has four parts: forward, backward, clipping, update. Here you compute every number of one step yourself,
# for a network so small that the numbers fit on a sheet of paper. Then you watch the same step inside distgrad, with hooks,
# in a debugger with three ranks, and as a listing. At the end you can
#
# * do a step by hand, and say what each number means,
# * stop a parallel program at any line and look around,
# * tell why gradients vanish or explode with depth, and what clipping by the global norm does about it.

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg
from distgrad import nn, optim

# %% [markdown]
# ## On paper
#
# Two inputs, three hidden units with ReLU, one output; half the squared error as the loss.
#
# $$z = W_1 x + b_1, \qquad h = \max(z, 0), \qquad y = W_2 h + b_2, \qquad L = \tfrac12 (y - t)^2$$
#
# $$W_1 = \begin{pmatrix} 1 & -\tfrac14 \\ 1 & \tfrac12 \\ -1 & \tfrac14 \end{pmatrix}, \quad b_1 = 0, \quad
#   W_2 = \begin{pmatrix} 2 & -1 & \tfrac12 \end{pmatrix}, \quad b_2 = \tfrac12, \quad
#   x = \begin{pmatrix} 1 \\ 2 \end{pmatrix}, \quad t = 1$$
#
# **Take the pencil.** Work out $z$, $h$, $y$ and $L$. Then go back: $\partial L/\partial y$, then for $W_2$, $b_2$, $h$, $z$,
# $W_1$ and $b_1$. Only then run the next cell.

# %%
x, t = np.array([1.0, 2.0]), 1.0
W1 = np.array([[1, -0.25], [1, 0.5], [-1, 0.25]])
b1 = np.zeros(3)
W2 = np.array([2, -1, 0.5])
b2 = 0.5

# forward
z = W1 @ x + b1
h = np.maximum(z, 0)
y = W2 @ h + b2
L = 0.5 * (y - t) ** 2

# backward: d… is the derivative of the loss by …
dy = y - t
dW2 = dy * h
db2 = dy
dh = dy * W2
dz = dh * (z > 0)
dW1 = np.outer(dz, x)
db1 = dz

for name in ["z", "h", "y", "L", "dy", "dW2", "db2", "dh", "dz", "dW1", "db1"]:
    print(f"{name:4}", (np.array(globals()[name]) + 0.0).tolist())  # + 0.0 makes 0 of -0

# %% [markdown]
# All of these have few binary digits, so the computer's numbers are exact here, as yours are.
#
# Read the results aloud, one by one. $\partial L/\partial y = -1.5$: the output is too small by 1.5, and the loss grows if it
# gets smaller. The third hidden unit was off ($z_3 < 0$): its weights get the gradient 0, because a small change of
# them changes nothing.


# %%
def draw(values, title, ax):
    """Draw the 2-3-1 network with a number in each node and on each edge."""
    inputs, hidden, output, first, second = values
    places = [[(0, 1.5), (0, 0.5)], [(1, 2), (1, 1), (1, 0)], [(2, 1)]]
    for i, start in enumerate(places[0]):
        for j, stop in enumerate(places[1]):
            edge(ax, start, stop, first[j, i])
    for j, start in enumerate(places[1]):
        edge(ax, start, places[2][0], second[j])
    for column, numbers in zip(places, (inputs, hidden, [output]), strict=True):
        for (px, py), number in zip(column, numbers, strict=True):
            circle = {"boxstyle": "circle,pad=0.4", "fc": "#dbe9f6", "ec": "k"}
            ax.text(px, py, f"{number + 0.0:g}", ha="center", va="center", bbox=circle, fontsize=9)
    ax.set_title(title, fontsize=10)
    ax.set_xlim(-0.3, 2.3)
    ax.set_ylim(-0.4, 2.4)
    ax.axis("off")


def edge(ax, start, stop, number):
    ax.plot(*zip(start, stop, strict=True), color="0.6", zorder=0)
    px, py = (0.4 * a + 0.6 * b for a, b in zip(start, stop, strict=True))
    ax.text(
        px,
        py,
        f"{number + 0.0:g}",
        fontsize=8,
        ha="center",
        va="center",
        bbox={"fc": "w", "ec": "none", "pad": 0.5},
    )


fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
draw((x, h, y, W1, W2), "forward: values and weights", axes[0])
draw((W1.T @ dz, dz, dy, dW1, dW2), "backward: the derivative of the loss by each", axes[1])
plt.tight_layout()

# %% [markdown]
# **Question.** The left figure has the inputs $1$ and $2$ at the left; the right one has $-1.5$ and $1.5$ there. What are these
# numbers, and who needs them?
#
# <details><summary>Answer</summary>
#
# $W_1^\top \, \partial L / \partial z$: the derivative of the loss by the inputs. Training does not need it, the data stay
# what they are. If there were a layer below, it would be where its backward pass begins.
#
# </details>
#
# ## Clip and update
#
# The gradient of the whole network is one long vector, all parameters together. Its length is the **global norm**:

# %%
gradients = [dW1, db1, dW2, np.array(db2)]
norm = np.sqrt(sum(np.sum(g * g) for g in gradients))
print(f"norm² = {norm**2}, norm = {norm:.4f}")

clipped = [g * min(1.0, 1.0 / norm) for g in gradients]  # at most 1 from here on
lr = 0.125
new_W1, new_b1, new_W2, new_b2 = (
    p - lr * g for p, g in zip((W1, b1, W2, b2), clipped, strict=True)
)

new_y = new_W2 @ np.maximum(new_W1 @ x + new_b1, 0) + new_b2
print(f"loss before {L}, after the step {0.5 * (new_y - t) ** 2:.4f}")
print(f"the gradient promised a change of {-lr * norm:.4f} for a small step")

# %% [markdown]
# The promise: moving by $-\eta g$ changes the loss by $-\eta \, g \cdot \nabla L$ to first order. Here $g = \nabla L /
# \lVert \nabla L \rVert$, so it is $-\eta \lVert \nabla L \rVert$. The rest is curvature.
#
# ## The same in distgrad

# %%
model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()


def set_weights():
    with dg.no_grad():
        for p, value in zip(model.parameters(), (W1, b1, W2[None, :], [b2]), strict=True):
            p.copy_(np.array(value))


set_weights()
optimizer = optim.SGD(model.parameters(), lr=lr)
batch_x, batch_t = x[None, :], np.array([[t]])  # a batch of one sample

optimizer.zero_grad()
loss = 0.5 * np.mean((model(batch_x) - batch_t) ** 2)
loss.backward()
assert float(loss) == L
for p, ours in zip(model.parameters(), gradients, strict=True):
    assert np.array_equal(p.grad.numpy().ravel(), ours.ravel())  # exact, no tolerance
assert abs(dg.clip_grad_norm_(model.parameters(), 1.0) - norm) < 1e-12
optimizer.step()
for (name, p), ours in zip(model.named_parameters(), (new_W1, new_b1, new_W2, new_b2), strict=True):
    assert np.allclose(p.detach().numpy().ravel(), np.ravel(ours), rtol=0, atol=1e-6)
    print(f"{name:9}", p.detach().numpy().round(5).tolist())

# %% [markdown]
# The gradients are equal to the bit. (After clipping they need not be: distgrad, like PyTorch, divides by `norm + 1e-6`, so
# that a norm of zero does no harm.)
#
# ## Look inside
#
# **Hooks.** A hook on a tensor is called with its gradient as backward passes by.

# %%
set_weights()
optimizer.zero_grad()
hidden = model[1](model[0](batch_x))
hidden.register_hook(lambda g: print("passes the hidden layer:", g.numpy().tolist()))
(0.5 * np.mean((model[2](hidden) - batch_t) ** 2)).backward()

# %% [markdown]
# That is `dh`, before the ReLU has let two of the three pass.
#
# **The debugger, on three ranks.** In data-parallel training several processes, the *ranks*, each have a copy of the model
# and a part of the batch. Parallel programs are hard to debug, because there are several processes. distgrad can
# run all ranks inside *one*, as threads that take turns; then `breakpoint()` just works. Here each of three ranks has one
# sample, and rank 0 stops before backward.

# %%
folder = Path(tempfile.mkdtemp())
script = folder / "step.py"
script.write_text("""\
import numpy as np

import distgrad as dg
from distgrad import nn

world = dg.init()
model = nn.Linear(2, 1).double()
with dg.no_grad():
    model.weight.copy_(np.array([[1.0, 2.0]]))
    model.bias.zero_()
ddp = dg.DistributedDataParallel(model)

x = np.array([[1.0, float(world.rank)]])  # another sample on each rank
loss = 0.5 * np.mean(model(x) ** 2)
if world.rank == 0:
    breakpoint()
ddp.backward(loss)
print(f"rank {world.rank}: loss {float(loss)}, gradient {model.weight.grad.numpy().tolist()}")
""")


def debug(ranks, script, commands):
    """Run ``distgrad debug`` with these commands typed in, and show the session."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONBREAKPOINT"}
    done = subprocess.run(
        [sys.executable, "-m", "distgrad", "debug", "-n", str(ranks), str(script)],
        input="\n".join(commands) + "\n",
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.replace(str(folder), "").split("(Pdb) ")
    session = first + "".join(f"(Pdb) {c}\n{out}" for c, out in zip(commands, rest, strict=True))
    print(session)
    return session


session = debug(
    3,
    script,
    [
        "p world",
        "p x",
        "p loss",
        "p model.weight.grad",
        "until 18",
        "p model.weight.grad",
        "continue",
    ],
)
assert session.count("gradient [") == 3

# %% [markdown]
# `until 18` ran backward on rank 0, up to the `print`. In it rank 0 had to wait for the others; while it waited they ran, each its own
# forward and backward pass, and the gradients were summed. Then you were back, and the gradient was there: the mean over
# the three samples, the same on all ranks.
#
# **Question.** Rank $r$ has the sample $(1, r)$, so $y = 1 + 2r$. Work out the three gradients $y \cdot x$, and their mean.
#
# <details><summary>Answer</summary>
#
# $1 \cdot (1, 0)$, $3 \cdot (1, 1)$, $5 \cdot (1, 2)$. The mean is $(3, 13/3)$.
#
# </details>
#
# Try it in a terminal, on a script of your own: `distgrad debug -n 3 step.py`. Set a breakpoint inside distgrad too, in
# `Reducer.grad_ready` ([parallel/reducer.py](../../distgrad/parallel/reducer.py)) or in the ring
# ([comm/algorithms/ring.py](../../distgrad/comm/algorithms/ring.py)). Nothing is hidden.
#
# **The listing.** `dg.capture` records one step and replays it from then on, without Python in between. Its record is a
# program that can be printed: every operation of forward (`op`), every vjp of backward (`back`), every gradient that becomes
# final (`grad`), clipping and the update. Find each line of your sheet of paper.


# %%
@dg.capture
def step(x, t):
    optimizer.zero_grad()
    loss = 0.5 * np.mean((model(x) - t) ** 2)
    loss.backward()
    dg.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss


set_weights()
assert float(step(batch_x, batch_t)) == L  # the first call records
print(step.program)

# %% [markdown]
# The column *values* has the number of each value: line `back relu` reads the value that came from above, and makes the
# next. What order do the `grad` lines have? The last layer's come first. Notebook 5 makes use of that.
#
# ## Deep networks: vanish or explode
#
# Backward multiplies by one Jacobian for each layer. Thirty factors of 0.8 are $0.8^{30} = 0.001$; thirty factors of 1.25 are
# 800. Here is a network of 30 layers of tanh. We put a gradient of length 1 in at the top and look how long it still is when
# it reaches each layer, for three sizes of the initial weights.


# %%
def gradient_lengths(gain, layers=30, width=64):
    """Return the length of the gradient by each layer's values; weights have deviation gain / √width."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(width, width)) * gain / width**0.5 for _ in range(layers)]
    hidden = [rng.normal(size=width)]
    for W in weights:  # forward
        hidden.append(np.tanh(hidden[-1] @ W))
    g, lengths = np.full(width, width**-0.5), []
    for W, h in zip(weights[::-1], hidden[:0:-1], strict=True):  # backward
        lengths.append(np.linalg.norm(g))
        g = W @ (g * (1 - h * h))
    return lengths[::-1]


plt.figure(figsize=(6, 3.2))
for gain in (0.6, 1.0, 2.5):
    plt.semilogy(gradient_lengths(gain), "o-", markersize=3, label=f"gain {gain}")
plt.xlabel("layer (0 is at the input)")
plt.ylabel("length of the gradient")
plt.legend()
plt.tight_layout()
assert gradient_lengths(0.6)[0] < 1e-5 < 100 < gradient_lengths(2.5)[0]

# %% [markdown]
# Read it from right to left, as backward goes. With a gain of 0.6 next to nothing arrives at the first layers: they do not
# learn. With 2.5 they get hundreds of times what the last layer gets, and a step that suits the one ruins the other. What helps: a good
# initialisation (gain near 1), residual connections, normalisation. `dg.GradientHealth` looks out for you and names the
# layer:

# %%
dg.manual_seed(0)
deep = nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(16, 16), nn.Tanh()))).double()
with dg.no_grad():
    for p in deep.parameters():
        p.mul_(0.7)
health = dg.GradientHealth(deep, every=1)
small_steps = optim.SGD(deep.parameters(), lr=1e-3)
for _ in range(3):
    small_steps.zero_grad()
    np.mean(deep(np.random.default_rng(0).normal(size=(8, 16))) ** 2).backward()
    small_steps.step()
    health.observe()
print("\n".join(health.report().splitlines()[:4]))
assert "vanish" in health.report()

# %% [markdown]
# ## Clipping
#
# Against a gradient that is too long now and then, one shortens it. There are two ways; look what they do to the direction.

# %%
long = np.array([3.0, 0.6])
by_value = np.clip(long, -1, 1)
by_norm = long * min(1, 1 / np.linalg.norm(long))
plt.figure(figsize=(6, 2.4))
for vector, label, color, shift in (
    (long, "gradient", "0.6", 0.05),
    (by_value, "clipped by value", "C3", 0.05),
    (by_norm, "clipped by norm", "C0", -0.15),
):
    arrow = {"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    plt.annotate("", vector, (0, 0), arrowprops=arrow)
    plt.text(vector[0] + 0.05, vector[1] + shift, label, color=color)
plt.gca().add_patch(plt.Circle((0, 0), 1, fill=False, ls=":"))
plt.gca().set_aspect("equal")
plt.xlim(-0.2, 3.8)
plt.ylim(-0.3, 1.1)
plt.tight_layout()

# %% [markdown]
# Clipping by value turns the gradient: it no longer is the direction of steepest descent. Clipping by the norm keeps the
# direction. The norm is that of **all parameters together**, one number for the network, so that the layers keep their
# proportions; and in data-parallel training that of the gradient of the **whole batch**, after it was summed over the ranks.
#
# **Question.** Each of 4 ranks clips its own gradient to norm 1 and *then* they are averaged. Why is that something else?
#
# <details><summary>Answer</summary>
#
# A rank with a long gradient is shortened more than the others, so that the mean has another direction: the samples are
# no longer weighted alike. And the result depends on which sample lies on which rank.
#
# </details>
#
# ## Exercise: clip by the global norm
#
# Write the function that trainers call between backward and the update.


# %% exercise
def clip_by_global_norm(gradients, max_norm):
    """Scale all arrays in place by one factor, so that their joint norm is at most max_norm.

    Returns the norm before clipping. Gradients whose norm is not above max_norm stay as they are.
    """
    norm = 0.0  # your lines
    return norm


# %% check
def check_clipping():
    def gradients():
        return [np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([12.0])]  # norms 5 and 12, jointly 13

    found = gradients()
    norm = clip_by_global_norm(found, 1.0)
    assert norm is not None, "return the norm before clipping"
    assert norm != 0.0, "the norm is 0: write your lines"
    assert np.isclose(norm, 13), (
        f"the joint norm of [[3, 0], [0, 4]] and [12] is √(25 + 144) = 13, not {norm}"
    )
    assert not np.array_equal(found[1], [12.0]), (
        "the arrays did not change: write into them, as in `g *= factor`"
    )
    ratio = found[1][0] / found[0][0, 0]
    assert np.isclose(ratio, 4), (
        f"12 was 4 times 3 before, now it is {ratio:.2f} times: one factor for all arrays, from the joint norm"
    )
    total = np.sqrt(sum(np.sum(g * g) for g in found))
    assert np.isclose(total, 1), f"the joint norm after clipping to 1 is {total}"
    small = gradients()
    clip_by_global_norm(small, 100.0)
    assert np.array_equal(small[1], [12.0]), (
        "a norm of 13 is below 100: such gradients must stay as they are"
    )
    theirs = [dg.Tensor(np.zeros_like(g), requires_grad=True) for g in gradients()]
    for p, g in zip(theirs, gradients(), strict=True):
        p.grad = dg.Tensor(g)
    assert np.isclose(dg.clip_grad_norm_(theirs, 1.0), norm)
    assert all(
        np.allclose(p.grad.numpy(), g, atol=1e-6) for p, g in zip(theirs, found, strict=True)
    )
    print("Right, and equal to dg.clip_grad_norm_.")


check_clipping()


# %% solution
def clip_by_global_norm(gradients, max_norm):
    norm = float(np.sqrt(sum(np.sum(g * g) for g in gradients)))
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return norm


# %% [markdown]
# **Next:** in the debugger three ranks summed their gradients while nobody looked. [Notebook 4](4-all-reduce.ipynb) looks.
