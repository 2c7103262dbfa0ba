"""Examples of distgrad.optim: optimizers, averages, clipping, hooks."""

import distgrad as dg
from distgrad import nn, optim


def descend(make, steps=20):
    """Minimize (w - 3)² from 0 by what ``make`` makes of the parameters; return w."""
    w = nn.Parameter(dg.zeros(2, 2))
    optimizer = make([w])
    for _ in range(steps):
        optimizer.zero_grad()
        ((w - 3) ** 2).sum().backward()
        optimizer.step()
    return round(w[0, 0].item(), 3)


def graded():
    w = nn.Parameter(dg.tensor([3.0, 4.0]))
    w.grad = dg.tensor([3.0, 4.0])
    return w


# Examples

descend(lambda p: optim.ASGD(p, lr=0.1))

descend(lambda p: optim.LAMB(p, lr=0.1))

descend(lambda p: optim.LARS(p, lr=1.0))

# LBFGS: its step takes a function that computes the loss
w = nn.Parameter(dg.zeros(2))
optimizer = optim.LBFGS([w])


def closure():
    optimizer.zero_grad()
    loss = ((w - 3) ** 2).sum()
    loss.backward()
    return loss


optimizer.step(closure)
w.data

descend(lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True))

descend(lambda p: optim.Adadelta(p, lr=1.0), steps=200)

descend(lambda p: optim.Adafactor(p, lr=0.1))

descend(lambda p: optim.Adagrad(p, lr=1.0))

descend(lambda p: optim.Adam(p, lr=0.3))

descend(lambda p: optim.AdamW(p, lr=0.3, weight_decay=0.01))

descend(lambda p: optim.Adamax(p, lr=0.3))

descend(lambda p: optim.Lion(p, lr=0.1))

descend(lambda p: optim.Muon(p, lr=0.3))

descend(lambda p: optim.NAdam(p, lr=0.3))

descend(lambda p: optim.RAdam(p, lr=0.3))

descend(lambda p: optim.RMSprop(p, lr=0.1))

descend(lambda p: optim.Rprop(p, lr=0.1))

descend(lambda p: optim.SparseAdam(p, lr=0.3))

# Optimizer: what all of them share
optimizer = optim.SGD([{"params": [dg.ones(2, requires_grad=True)], "lr": 0.5}], lr=0.1)
isinstance(optimizer, optim.Optimizer), optimizer.param_groups[0]["lr"]

descend(lambda p: optim.Lookahead(optim.SGD(p, lr=0.1), k=5, alpha=0.5))

# AutoClip: to a percentile of the norms so far
clip = optim.AutoClip(percentile=50)
w = graded()
for scale in (1.0, 2.0, 3.0):
    w.grad = scale * dg.tensor([3.0, 4.0])
    clip([w])
w.grad

# AveragedModel: the equal-weights average of SWA
model = nn.Linear(1, 1, bias=False)
average = optim.AveragedModel(model)
for value in (1.0, 2.0, 6.0):
    model.weight.data = dg.full((1, 1), value)
    average.update_parameters(model)
average(dg.ones(1, 1))

# get_ema_avg_fn, get_swa_avg_fn: (average, new, how many so far)
(
    optim.get_ema_avg_fn(0.9)(dg.tensor(1.0), dg.tensor(2.0), 3),
    optim.get_swa_avg_fn()(dg.tensor(1.0), dg.tensor(2.0), 3),
)

# get_ema_multi_avg_fn, get_swa_multi_avg_fn: of lists, in place
averages, swa = [dg.tensor([1.0])], [dg.tensor([1.0])]
optim.get_ema_multi_avg_fn(0.9)(averages, [dg.tensor([2.0])], 3)
optim.get_swa_multi_avg_fn()(swa, [dg.tensor([2.0])], 3)
averages, swa

# ExponentialMovingAverage
w = nn.Parameter(dg.tensor([0.0]))
average = optim.ExponentialMovingAverage([w], decay=0.9)
w.data = dg.tensor([1.0])
average.update()
with average.average_parameters():
    inside = w.item()
inside, w.item()

# adaptive_clip_grad_: how many units were clipped
w = graded()
optim.adaptive_clip_grad_([w], clip_factor=0.1), w.grad

# clip_grads_with_norm_, get_total_norm, total_norm
w = graded()
norm = optim.get_total_norm([w.grad])
optim.clip_grads_with_norm_([w], 1.0, norm)
norm, w.grad, optim.total_norm([w.grad])

# clip_layer_grad_norm_: each layer by itself
model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
model(dg.ones(1, 2)).sum().backward()
sorted(optim.clip_layer_grad_norm_(model.named_parameters(), 0.1))

# register_optimizer_step_pre_hook, register_optimizer_step_post_hook: of every optimizer
said = []
before = optim.register_optimizer_step_pre_hook(lambda o, a, k: said.append("before"))
after = optim.register_optimizer_step_post_hook(lambda o, a, k: said.append("after"))
descend(lambda p: optim.SGD(p, lr=0.1), steps=1)
before.remove()
after.remove()
said
