"""Low-rank adapters, pruning masks, fake quantisation with a straight-through gradient."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize
import torch.nn.utils.prune as prune


class LoRALinear(nn.Linear):
    def __init__(self, in_features, out_features, r=2, lora_alpha=4, lora_dropout=0.0, **kwargs):
        nn.Linear.__init__(self, in_features, out_features, **kwargs)
        self.r = r
        self.lora_A = nn.Parameter(self.weight.new_zeros((r, in_features)))
        self.lora_B = nn.Parameter(self.weight.new_zeros((out_features, r)))
        self.scaling = lora_alpha / r
        self.lora_dropout = nn.Dropout(p=lora_dropout) if lora_dropout > 0.0 else lambda x: x
        self.weight.requires_grad = False
        self.merged = False
        self.reset_parameters()

    def reset_parameters(self):
        nn.Linear.reset_parameters(self)
        if hasattr(self, "lora_A"):
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
            nn.init.zeros_(self.lora_B)

    def train(self, mode: bool = True):
        nn.Linear.train(self, mode)
        if mode and self.merged:
            self.weight.data -= self.lora_B @ self.lora_A * self.scaling
            self.merged = False
        elif not mode and not self.merged:
            self.weight.data += self.lora_B @ self.lora_A * self.scaling
            self.merged = True
        return self

    def forward(self, x):
        result = F.linear(x, self.weight, bias=self.bias)
        if not self.merged:
            result += (
                self.lora_dropout(x) @ self.lora_A.transpose(0, 1) @ self.lora_B.transpose(0, 1)
            ) * self.scaling
        return result


class FakeQuant(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, bits=4):
        qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        q = torch.round(x / scale)
        ctx.save_for_backward((q >= qmin) & (q <= qmax))
        return q.clamp(qmin, qmax) * scale

    @staticmethod
    def backward(ctx, grad_output):
        (mask,) = ctx.saved_tensors
        return grad_output * mask, None, None


class Quantised(nn.Module):
    def __init__(self, mod):
        super().__init__()
        self.mod = mod
        self.observer = nn.Buffer(torch.tensor(1.0)) if hasattr(nn, "Buffer") else None

    def forward(self, x):
        with torch.no_grad():
            self.observer.copy_(x.detach().abs().max().clamp(min=1e-6) / 7)
        return self.mod(FakeQuant.apply(x, self.observer))


class Symmetric(nn.Module):
    def forward(self, X):
        return X.triu() + X.triu(1).transpose(-1, -2)

    def right_inverse(self, A):
        return A.triu()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = LoRALinear(6, 8)
        self.b = Quantised(nn.Linear(8, 8))
        self.c = nn.Linear(8, 8)
        self.d = nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))

    def forward(self, x):
        return self.d(torch.tanh(self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))))


def build():
    return Net()


def data(rng):
    x = torch.tensor(rng.standard_normal((7, 6)), dtype=torch.get_default_dtype())
    return x, torch.tensor(rng.integers(0, 3, 7))


def train(model, data, steps):
    x, y = data
    prune.l1_unstructured(model.c, name="weight", amount=0.3)
    print(
        sorted(n for n, _ in model.c.named_parameters()),
        sorted(n for n, _ in model.c.named_buffers()),
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    print(sum(p.numel() for p in trainable), sum(p.numel() for p in model.parameters()))
    opt = torch.optim.RMSprop(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2)
    losses = []
    for i in range(steps):
        loss = F.nll_loss(F.log_softmax(model(x), dim=1), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if i == 10:
            model.eval()
            with torch.no_grad():
                losses.append(model(x).sum().item())
            model.train()
    prune.remove(model.c, "weight")
    print(list(dict(model.c.named_parameters())), int((model.c.weight == 0).sum()))
    return losses


def evaluate(model, data):
    lora = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    model.eval()
    lin = nn.Linear(3, 3)
    with torch.no_grad():
        lin.weight.copy_(torch.arange(9.0).view(3, 3))
    parametrize.register_parametrization(lin, "weight", Symmetric())
    with torch.no_grad():
        return [
            model(data[0]),
            *lora.values(),
            lin.weight,
            torch.tensor(parametrize.is_parametrized(lin)),
        ]
