# %% [markdown]
# # 1. The chain rule
#
# *Build your own data-parallel trainer, notebook 1 of 7. About 35 minutes.*
#
# To train a network means to change its parameters, a little at a time, so that a number, the *loss*, becomes
# smaller. In which direction? The gradient of the loss says so. A network has millions of parameters, and no
# formula for its gradient fits on a page. But the program that computes the loss is built of small parts, each with
# a derivative that everybody knows. The **chain rule** puts them together, and this notebook is about how, and at
# what price.
#
# You need NumPy and derivatives of functions of one variable. At the end you can
#
# * differentiate a program that is a chain of links, and say which order of multiplication is cheap,
# * write Jacobian-vector and vector-Jacobian products without a Jacobian,
# * check any gradient, your own included.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg

# %% [markdown]
# ## One variable
#
# Take $y = \sin(x^2)$. With a name for the value in the middle, $u = x^2$ and $y = \sin u$. The chain rule:
#
# $$\frac{dy}{dx} = \frac{dy}{du} \cdot \frac{du}{dx} = \cos(u) \cdot 2x .$$
#
# Each factor belongs to one link and needs only that link's own input. So we let a link return two things: its
# value, and its slope there. A chain of links multiplies the slopes as it goes.


# %%
def square(x):
    return x * x, 2 * x


def sine(u):
    return np.sin(u), np.cos(u)


def chain(links, x):
    """Return the value of links[-1](…links[0](x)) and its derivative by x."""
    slope = 1.0
    for link in links:
        x, factor = link(x)
        slope = factor * slope
    return x, slope


value, slope = chain([square, sine], 1.3)
print(f"value {value:.6f}, slope {slope:.6f}, by the formula {np.cos(1.3**2) * 2 * 1.3:.6f}")

# %% [markdown]
# **Question.** What does `chain([sine, square], 1.3)` differentiate, and what is the derivative by hand?
#
# <details><summary>Answer</summary>
#
# $y = (\sin x)^2$, and $dy/dx = 2 \sin x \cos x$: `2 * np.sin(1.3) * np.cos(1.3)`.
#
# </details>
#
# ## How to check a derivative
#
# A derivative is a limit of quotients. The central difference
#
# $$\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + \dots$$
#
# is off by about $h^2$, so a small $h$ is good. But a computer keeps 16 digits: $f(x + h)$ and $f(x - h)$ agree in most
# of them when $h$ is small, and what is left after the subtraction is rounding error, about $10^{-16} / h$. Look at both.


# %%
def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


steps = 10.0 ** -np.arange(1, 14, 0.25)
errors = [
    abs(central_difference(lambda t: chain([square, sine], t)[0], 1.3, h) - slope) for h in steps
]

plt.figure(figsize=(6, 3.4))
plt.loglog(steps, errors, "o-", markersize=3, label="error")
plt.loglog(steps, steps**2, ":", label="$h^2$: the formula")
plt.loglog(steps, 1e-16 / steps, ":", label="$10^{-16}/h$: rounding")
plt.xlabel("h")
plt.ylim(1e-15, 1)
plt.legend()
plt.tight_layout()

# %% [markdown]
# The best $h$ is near $10^{-5}$, and gives ten digits: enough to find a wrong formula, and that is what the
# central difference is for. It is no way to train: for $n$ parameters it takes $2n$ runs of the program.
#
# ## Several variables: Jacobians
#
# A layer maps a vector to a vector. Its derivative at a point is a matrix, the **Jacobian**: $J_{ij} = \partial y_i /
# \partial x_j$, a row for each output, a column for each input. The chain rule is the product of these matrices:
#
# $$y = f_3(f_2(f_1(x))) \quad\Rightarrow\quad J = J_3 \, J_2 \, J_1 .$$
#
# Here is a small network, without biases: a matrix $A$, tanh, a matrix $B$, and a loss, the sum of squares.

# %%
rng = np.random.default_rng(0)
A, B = rng.normal(size=(5, 4)) / 2, rng.normal(size=(3, 5)) / 2
x = rng.normal(size=4)

u = A @ x  # 5
h = np.tanh(u)  # 5
z = B @ h  # 3
loss = np.sum(z * z)  # a number

jacobians = [
    A,  # u by x: 5 × 4
    np.diag(1 - h * h),  # h by u: 5 × 5, every output has one input
    B,  # z by h: 3 × 5
    2 * z[None, :],  # the loss by z: 1 × 3
]
gradient = jacobians[3] @ jacobians[2] @ jacobians[1] @ jacobians[0]
print("gradient of the loss by x:", gradient)


# %%
def network(x):
    z = B @ np.tanh(A @ x)
    return np.sum(z * z)


numeric = [central_difference(lambda t, e=e: network(x + t * e), 0.0, 1e-5) for e in np.eye(4)]
assert np.allclose(gradient[0], numeric, rtol=1e-8)
print("central differences say the same")

# %% [markdown]
# ## The order of multiplication
#
# A product of matrices may be bracketed as one likes; the result is the same, the work is not. An $(a \times b)$ by $(b
# \times c)$ product takes $abc$ multiplications. Multiply the Jacobians of a network of width $n$ with one number as its
# loss
#
# * from the **input** on: $J_4 (J_3 (J_2 J_1))$. All products are of $n \times n$ matrices, until the last.
# * from the **loss** back: $((J_4 J_3) J_2) J_1$. The left factor has one row, always.


# %%
def multiplications(shapes):
    """Count those of multiplying matrices of these shapes from left to right."""
    rows, total = shapes[0][0], 0
    for inner, columns in shapes[1:]:
        total += rows * inner * columns
    return total


def both_orders(n, layers):
    from_loss = [(1, n)] + [(n, n)] * layers
    from_input = [
        (c, r) for r, c in reversed(from_loss)
    ]  # transposed, it is read from the left too
    return multiplications(from_loss), multiplications(from_input)


widths = 2 ** np.arange(3, 13)
counts = np.array([both_orders(int(n), 4) for n in widths], float)
plt.figure(figsize=(6, 3.2))
plt.loglog(widths, counts[:, 1], "o-", label="from the input: $n^3$")
plt.loglog(widths, counts[:, 0], "o-", label="from the loss: $n^2$")
plt.xlabel("width n of the layers")
plt.ylabel("multiplications")
plt.legend()
plt.tight_layout()

print(f"width 4096: {counts[-1, 1] / counts[-1, 0]:,.0f} times the work")

# %% [markdown]
# From the loss back is called **reverse mode**, or backpropagation; from the input on is **forward mode**. Many inputs and
# one output: reverse. One input and many outputs: forward.
#
# **Question.** A simulation has 2 parameters and gives a curve of 1,000 points. You want the Jacobian, $1000 \times 2$.
# Which mode, and how many passes?
#
# <details><summary>Answer</summary>
#
# Forward: one pass for each input, 2 in all. Reverse would take one for each output, 1,000.
#
# </details>
#
# ## Never form the matrix
#
# The row that reverse mode carries is a vector $g$, and all it ever needs of a link is the product $g^\top J$, a
# **vector-Jacobian product** (vjp). Forward mode needs $J v$, a **Jacobian-vector product** (jvp). Both can be written
# without the matrix. For tanh $J$ is diagonal, and $g^\top J$ is `g * (1 - h * h)`: $n$ multiplications in place of $n^2$.
#
# So a link returns its value and its vjp, a function. The vjp may use everything the link has computed: a Python closure
# keeps it.


# %%
def linear(W):
    def link(x):
        return W @ x, lambda g: g @ W

    return link


def tanh(u):
    h = np.tanh(u)
    return h, lambda g: g * (1 - h * h)


def sum_of_squares(z):
    return np.sum(z * z), lambda g: g * 2 * z


def gradient_of(links, x):
    """Return the value and the gradient of a chain whose last link gives a number."""
    vjps = []
    for link in links:  # forward: keep each link's vjp
        x, vjp = link(x)
        vjps.append(vjp)
    g = 1.0
    for vjp in reversed(vjps):  # backward: pull g from the loss to the input
        g = vjp(g)
    return x, g


value, g = gradient_of([linear(A), tanh, linear(B), sum_of_squares], x)
assert np.allclose(g, gradient[0], rtol=1e-14)
print("the same gradient, and no Jacobian:", g)

# %% [markdown]
# This is all there is to reverse mode. Two loops: one goes forward and *keeps*, one goes backward and *pulls*. What it
# costs is memory, as everything a vjp needs is kept until it has been called.
#
# How much time? About as much as two or three forward passes, **whatever the number of inputs**. Central differences:

# %%
n = 500
wide = [
    linear(rng.normal(size=(n, n)) / n**0.5),
    tanh,
    linear(rng.normal(size=(n, n)) / n**0.5),
    sum_of_squares,
]
point = rng.normal(size=n)


def seconds(f, repeat=5):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def value_of(x):
    for link in wide:
        x, _ = link(x)
    return x


one = seconds(lambda: value_of(point))
all_n = seconds(lambda: gradient_of(wide, point))
print(f"one value: {1e3 * one:.2f} ms; gradient by all {n} inputs: {1e3 * all_n:.2f} ms")
print(f"central differences would take {1e3 * 2 * n * one:,.0f} ms")

# %% [markdown]
# ## The same in distgrad
#
# In distgrad you write plain NumPy functions, and these two loops run behind them. The names are those of the literature.

# %%
value, pull = dg.vjp(network, x)  # the value, and the function that pulls back
(pulled,) = pull(1.0)  # one gradient for each input
_, pushed = dg.jvp(network, (x,), (np.ones(4),))  # along the direction of ones

assert np.allclose(pulled.numpy(), g, rtol=0, atol=1e-12)
assert np.allclose(dg.grad(network)(x).numpy(), g, rtol=0, atol=1e-12)
assert np.allclose(float(pushed), g @ np.ones(4), rtol=0, atol=1e-12)
assert np.allclose(dg.jacobian(np.tanh)(u).numpy(), np.diag(1 - h * h), rtol=0, atol=1e-12)
print("dg.vjp, dg.jvp, dg.grad and dg.jacobian agree with us to 1e-12")

# %% [markdown]
# Look up [distgrad/ops/elementwise.py](../../distgrad/ops/elementwise.py): each operation is one function that
# returns its value and one closure for each input, just as our links do.
#
# ## Gradient checking
#
# To check a gradient of $n$ numbers one need not take $n$ central differences. Choose a random direction $v$: the slope of
# $f$ along it must be $\langle \nabla f, v \rangle$. A wrong component betrays itself, as $v$ has no zero.


# %%
def check_gradient(f, x, gradient, h=1e-5):
    """Compare a gradient with the slope along a random direction; return the relative error."""
    v = np.random.default_rng(1).normal(size=x.shape)
    measured = central_difference(lambda t: f(x + t * v), 0.0, h)
    claimed = np.sum(gradient * v)
    return abs(measured - claimed) / max(abs(measured), abs(claimed))


print(f"right gradient: relative error {check_gradient(network, x, g):.0e}")
wrong = g.copy()
wrong[2] *= 1.01
print(f"one of four components 1 % too large: {check_gradient(network, x, wrong):.0e}")
assert check_gradient(network, x, g) < 1e-8 < 1e-4 < check_gradient(network, x, wrong)

# %% [markdown]
# `dg.gradcheck` does this for every operation of distgrad, in its tests, and for yours:

# %%
print(dg.gradcheck(lambda a: np.sum(np.tanh(a) * a), [x]))

# %% [markdown]
# ## Exercise: the softmax
#
# The softmax turns $n$ numbers into probabilities,
#
# $$s_i = \frac{e^{z_i}}{\sum_k e^{z_k}}, \qquad \frac{\partial s_i}{\partial z_j} = s_i (\delta_{ij} - s_j) .$$
#
# Its Jacobian is full: each output depends on each input. Still its vjp takes only about $2n$ multiplications. Work out
# $\sum_i g_i \, s_i (\delta_{ij} - s_j)$ on paper, then fill in the line. Do not build the matrix: the check calls your
# function with $n = 100{,}000$, where it would need 80 GB.


# %% exercise
def softmax(z):
    e = np.exp(z - np.max(z))  # the shift changes nothing, but keeps exp from overflowing
    s = e / np.sum(e)

    def vjp(g):
        return None  # your line: the vector with the components sum_i g_i s_i (delta_ij - s_j)

    return s, vjp


# %% check
def check_softmax():
    z, g = np.array([0.5, -1.0, 2.0, 0.0]), np.array([1.0, 3.0, -2.0, 0.5])
    s, vjp = softmax(z)
    found = vjp(g)
    assert found is not None, "vjp returns None: fill in its line"
    assert np.shape(found) == (4,), f"vjp returns shape {np.shape(found)}; the input has shape (4,)"
    assert not np.allclose(found, g * s), (
        "that is the diagonal part, g * s. The off-diagonal part is missing: each s_i also depends "
        "on the other z_j, through the sum in the denominator"
    )
    right = g @ (np.diag(s) - np.outer(s, s))
    assert np.allclose(found, right, atol=1e-12), (
        f"for z={z} and g={g} it must be {right}, not {found}"
    )
    s, vjp = softmax(np.linspace(-1, 1, 100_000))
    assert abs(np.sum(vjp(np.cos(np.arange(100_000.0))))) < 1e-12, "the components must add up to 0"
    print("Right, and it never built the matrix.")


check_softmax()


# %% solution
def softmax(z):
    e = np.exp(z - np.max(z))
    s = e / np.sum(e)

    def vjp(g):
        return s * (g - np.sum(g * s))

    return s, vjp


# %% [markdown]
# **Two more questions, to think about.** Why must the components of this vjp add up to 0, whatever $g$ is? (What does the
# softmax do when all $z_i$ grow by the same number?) And what does the vjp of $-\log s_k$ after the softmax simplify to?
#
# <details><summary>Answers</summary>
#
# The softmax stays the same when all $z_i$ grow by the same number, so its derivative in the direction $(1, \dots, 1)$ is 0, and the sum
# of the components is that derivative, pulled by $g$. For $-\log s_k$ the incoming $g$ is $-1/s_k$ at $k$ and 0 elsewhere; the vjp becomes
# $s_j - \delta_{jk}$: softmax minus one at the right place.
#
# </details>
#
# **Next:** a network is no chain. Values are used twice, weights are shared. [Notebook 2](2-graph.ipynb) builds an engine
# for any graph, in about sixty lines, and trains on real images with it.
