"""Examples of distgrad's worlds, training, data, transforms of functions and errors."""

import tempfile

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F


def classifier():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    return model, optim.AdamW(model.parameters(), lr=1e-2)


# Examples


# init, World: who am I, and how many shards does a batch have
def who():
    world = dg.init(shards=8)
    return isinstance(world, dg.World), world.rank, world.size, world.shards


run_ranks(3, who)  # under mpirun every rank is a process; here threads of this one

dg.current_world().size

# launch: a function on ranks, from a notebook's cell; world="mpi" makes them processes
dg.launch(lambda: dg.init(shards=8).size, ranks=3, world="simulate")

# DistributedDataParallel
model, optimizer = classifier()
ddp = dg.DistributedDataParallel(model)
train, test = dg.data.digits()
for batch in dg.data.DataLoader(train, global_batch_size=256, shuffle=True, seed=0):
    optimizer.zero_grad()
    for x, y in batch.shards:
        ddp.backward(F.cross_entropy(model(x), y))
    dg.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
dg.accuracy(model(test.arrays[0]), test.arrays[1]) / len(test)

# Trainer, MaxSteps
model, optimizer = classifier()
train, test = dg.data.digits()
trainer = dg.Trainer(
    model, optimizer, F.cross_entropy, metrics={"accuracy": dg.accuracy}, progress=False
)
state = trainer.fit(
    dg.data.DataLoader(train, global_batch_size=256, seed=0),
    evaluate=dg.data.DataLoader(test, global_batch_size=256),
    stop=[dg.MaxSteps(12)],
)
state.step, state.stopped, sorted(state.evaluation)

# EarlyStopping: two evaluations without a better one
criterion = dg.EarlyStopping("accuracy", patience=2, mode="max")
for step, accuracy in enumerate([0.8, 0.9, 0.9, 0.88], start=1):
    state = dg.TrainState(step=step, evaluation={"accuracy": accuracy}, evaluation_step=step)
    print(criterion.check(state))

# TrainState, MaxEpochs, LossPlateau, TargetMetric, WallTime: stop criteria read the state
state = dg.TrainState(step=40, epoch=2, loss=0.1, evaluation={"accuracy": 0.99})
criteria = [dg.MaxEpochs(2), dg.TargetMetric("accuracy", 0.98), dg.LossPlateau(5), dg.WallTime(60)]
[criterion.check(state) for criterion in criteria]


# ShardSum: numbers over all ranks and shards, in the order of the tree
def count():
    world = dg.init(shards=4)
    total = dg.ShardSum(world, "correct", "seen")
    for samples in dg.own_shards(world, step=0, total=10):
        total.add(correct=len(samples) / 2, seen=len(samples))
    return total.result()


run_ranks(3, count)


# own_shards: the samples of each of this rank's shards
def mine():
    return [list(part) for part in dg.own_shards(dg.init(shards=4), step=0, total=8)]


run_ranks(3, mine)

# accuracy: how many, not which share, so that shards can be added
dg.accuracy(dg.tensor([[2.0, 1.0], [0.0, 3.0]]), dg.tensor([0, 0]))

# clip_grad_norm_, clip_grad_value_
model, _ = classifier()
model(dg.ones(2, 64)).square().sum().backward()
norm = dg.clip_grad_norm_(model.parameters(), 1.0)
dg.clip_grad_value_(model.parameters(), 0.05)
norm > 1, max(p.grad.abs().max().item() for p in model.parameters())

# GradientHealth: norms by layer
model, optimizer = classifier()
ddp = dg.DistributedDataParallel(model)
health = dg.GradientHealth(model, every=1)
ddp.backward(F.cross_entropy(model(np.ones((4, 64), "f4")), np.array([0, 1, 2, 3])))
optimizer.step()
health.observe()
print(health.report())


# GradientNoiseScale: from the gradients of two shards or more
def noise():
    dg.init(shards=4)
    model, optimizer = classifier()
    ddp = dg.DistributedDataParallel(model)
    scale = dg.GradientNoiseScale(model)
    train, _ = dg.data.digits()
    for batch in dg.data.DataLoader(train, global_batch_size=512, seed=0):
        optimizer.zero_grad()
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(model(x), y))
        optimizer.step()
    return round(scale.value, 1)


run_ranks(2, noise)  # in samples; the same on all ranks

# TimeSplit: compute, waiting and transfer of every rank; "" where there is one rank
world = dg.current_world()
with dg.TimeSplit(world) as split:
    for _ in range(4):
        world.comm.all_reduce(np.ones(10), name="mine")
        split.step()
split.summary()

# update_bn: renew batch-norm's statistics
model = nn.BatchNorm1d(3)
dg.update_bn([dg.full((4, 3), 5.0)], model)
model.running_mean


# capture: recorded once, then replayed with the same bits
@dg.capture
def double_sum(x):
    return (2 * dg.as_tensor(x)).sum()


[double_sum(np.full(3, i, "f4")).item() for i in range(3)]


# grad, value_and_grad
def f(x):
    return (x**3).sum()


dg.grad(f)(dg.tensor([1.0, 2.0])), dg.value_and_grad(f)(dg.tensor([1.0, 2.0]))

dg.jacobian(lambda x: x**2)(dg.tensor([1.0, 2.0]))

dg.hessian(lambda x: (x**3).sum())(dg.tensor([1.0, 2.0]))

dg.hvp(lambda x: (x**3).sum(), [dg.tensor([1.0, 2.0])], [dg.tensor([1.0, 0.0])])

dg.jvp(lambda x: x**2, [dg.tensor([1.0, 2.0])], [dg.tensor([1.0, 0.0])])

# vjp
value, pull = dg.vjp(lambda x: x**2, dg.tensor([1.0, 2.0]))
value, pull(dg.tensor([1.0, 1.0]))

dg.vmap(lambda x: x @ x)(dg.tensor([[1.0, 2.0], [3.0, 4.0]]))

dg.gradcheck(lambda x: x.tanh().sum(), [np.array([0.1, 0.2])])


# odeint, odeint_adjoint: y' = -k y from 1
class Decay(nn.Module):
    def __init__(self):
        super().__init__()
        self.k = nn.Parameter(dg.tensor([1.0]))

    def forward(self, t, y):
        return -self.k * y


decay, times = Decay(), dg.tensor([0.0, 1.0])
dg.odeint_adjoint(decay, dg.tensor([1.0]), times)[-1].sum().backward()
dg.odeint(decay, dg.tensor([1.0]), times), decay.k.grad


# op: value and gradient side by side
@dg.op("... -> ...")
def example_cube(x):
    """The cube of each element."""
    return x * x * x, (lambda g: 3 * g * x * x,)


x = dg.tensor([1.0, 2.0], requires_grad=True)
example_cube(x).sum().backward()
del dg.autograd.REGISTRY["example_cube"]  # an op's name is taken once
x.grad

# save, load
with tempfile.TemporaryDirectory() as folder:
    dg.save({"weights": dg.ones(2), "epoch": 3}, f"{folder}/state.safetensors")
    again = dg.load(f"{folder}/state.safetensors")
again


# Dataset, Subset, ConcatDataset, TensorDataset
class Squares(dg.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return dg.tensor(float(i)), dg.tensor(float(i * i))


data = dg.ConcatDataset([dg.Subset(Squares(), [4, 0]), dg.TensorDataset(dg.ones(2), dg.zeros(2))])
len(data), data[0], data[2]

# DataLoader, default_collate
data = dg.TensorDataset(dg.arange(5.0), dg.arange(5))
for x, y in dg.DataLoader(data, batch_size=2):
    print(x, y)
dg.default_collate([(dg.tensor(1), {"a": 2}), (dg.tensor(3), {"a": 4})])


# IterableDataset
class Stream(dg.IterableDataset):
    def __iter__(self):
        return iter([dg.tensor(1.0), dg.tensor(2.0), dg.tensor(3.0)])


list(dg.DataLoader(Stream(), batch_size=2))

# DistributedSampler
list(dg.DistributedSampler(range(7), num_replicas=3, rank=1, shuffle=False))

# WeightedRandomSampler
list(dg.WeightedRandomSampler([0.0, 1.0, 0.0], num_samples=3))

# random_split
first, second = dg.random_split(range(10), [7, 3])
len(first), len(second)

# DistgradError: the base of all errors; ShapeError, GradError, DataError are also Python's own
try:
    dg.ones(2, 3) @ dg.ones(2, 3)
except dg.DistgradError as error:
    print(type(error).__name__, isinstance(error, ValueError), error)

# ShapeError: what fits together, and what was given
try:
    dg.ones(2, 3) @ dg.ones(2, 3)
except dg.ShapeError as error:
    print(error)

# GradError: what stands outside the tape says so
try:
    dg.tensor([1.0], requires_grad=True).numpy()
except dg.GradError as error:
    print(error)

# DataError
try:
    dg.data.transforms.CenterCrop(2)(np.ones(3))
except dg.DataError as error:
    print(error)

# NonFiniteError: a loss that is NaN ends the training, with its rank, step and shard
model, _ = classifier()
ddp = dg.DistributedDataParallel(model)
try:
    ddp.backward(model(dg.full((2, 64), dg.nan)).sum())
except dg.NonFiniteError as error:
    print(error)


# CaptureError: what a replay could not do again
@dg.capture
def decide(x):
    total = dg.as_tensor(x).sum()
    return total if total.item() > 0 else -total


try:
    decide(np.ones(3, "f4"))
except dg.CaptureError as error:
    print(error)

# CheckpointError
try:
    dg.checkpoint.load("/tmp")
except dg.CheckpointError as error:
    print(error)


# LaunchError: a job that was started in a way that cannot work
def join_twice():
    dg.init()
    dg.init(shards=4)


try:
    run_ranks(1, join_twice)
except dg.LaunchError as error:
    print(error)

# Interrupted: Ctrl-C, after the step and its checkpoint; it passes `except Exception`
issubclass(dg.Interrupted, KeyboardInterrupt), issubclass(dg.Interrupted, Exception)

# CommError: the base of what goes wrong between ranks
model, _ = classifier()
try:
    dg.DistributedDataParallel(model, algorithm="star")
except dg.CommError as error:
    print(error)


# PeerFailedError: a rank that has left is named
def leave():
    comm = dg.init().comm
    if comm.rank != 1:
        comm.all_reduce(np.ones(2), name="mine")


try:
    run_ranks(3, leave)
except dg.PeerFailedError as error:
    print(error)

# CommTimeoutError: a rank has not come within `dg.init(timeout=…)` seconds
issubclass(dg.CommTimeoutError, dg.CommError)


# DeadlockError: who waits for whom
def wait_for_each_other():
    comm = dg.init().comm
    comm.recv(np.empty(1), (comm.rank + 1) % comm.size)


try:
    run_ranks(2, wait_for_each_other)
except dg.DeadlockError as error:
    print("\n".join(str(error).splitlines()[:2]))


# MismatchError: names the ranks and what they disagree on
def disagree():
    comm = dg.init().comm
    comm.all_reduce(np.ones(2 + comm.rank), name="mine")


try:
    run_ranks(2, disagree)
except dg.MismatchError as error:
    print(str(error).splitlines()[0])
