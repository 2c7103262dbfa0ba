"""A selective state space layer: depthwise causal convolution, scan, softplus; an S4D by FFT."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class MambaBlock(nn.Module):
    def __init__(self, d_model=8, d_inner=16, d_state=4, dt_rank=2, d_conv=4):
        super().__init__()
        self.d_inner, self.dt_rank, self.n = d_inner, dt_rank, d_state
        self.in_proj = nn.Linear(d_model, d_inner * 2, bias=False)
        self.conv1d = nn.Conv1d(
            d_inner, d_inner, bias=True, kernel_size=d_conv, groups=d_inner, padding=d_conv - 1
        )
        self.x_proj = nn.Linear(d_inner, dt_rank + d_state * 2, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner, bias=True)
        A = torch.arange(1, d_state + 1, dtype=torch.get_default_dtype()).repeat(d_inner, 1)
        self.A_log = nn.Parameter(torch.log(A))
        self.A_log._no_weight_decay = True
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x):
        (_b, length, _d) = x.shape
        x_and_res = self.in_proj(x)
        (x, res) = x_and_res.split(split_size=[self.d_inner, self.d_inner], dim=-1)
        x = x.transpose(1, 2)
        x = self.conv1d(x)[:, :, :length]
        x = F.silu(x.transpose(1, 2))
        y = self.ssm(x) * F.silu(res)
        return self.out_proj(y)

    def ssm(self, x):
        A = -torch.exp(self.A_log.float() if x.dtype == torch.float32 else self.A_log)
        x_dbl = self.x_proj(x)
        (delta, B, C) = x_dbl.split(split_size=[self.dt_rank, self.n, self.n], dim=-1)
        delta = F.softplus(self.dt_proj(delta))
        return self.selective_scan(x, delta, A, B, C, self.D)

    def selective_scan(self, u, delta, A, B, C, D):
        (b, length, d_in) = u.shape
        deltaA = torch.exp(torch.einsum("bld,dn->bldn", delta, A))
        deltaB_u = torch.einsum("bld,bln,bld->bldn", delta, B, u)
        x = torch.zeros((b, d_in, self.n), device=deltaA.device, dtype=u.dtype)
        ys = []
        for i in range(length):
            x = deltaA[:, i] * x + deltaB_u[:, i]
            ys.append(torch.einsum("bdn,bn->bd", x, C[:, i, :]))
        return torch.stack(ys, dim=1) + u * D


class S4D(nn.Module):
    def __init__(self, h=8, n=4):
        super().__init__()
        log_dt = torch.linspace(math.log(0.001), math.log(0.1), h)
        self.C = nn.Parameter(
            torch.view_as_real(
                torch.complex(torch.ones(h, n), torch.linspace(0, 1, h * n).view(h, n))
            )
        )
        self.log_dt = nn.Parameter(log_dt)
        self.log_A_real = nn.Parameter(torch.log(0.5 * torch.ones(h, n)))
        self.A_imag = nn.Parameter(
            math.pi * torch.arange(n).expand(h, n).to(torch.get_default_dtype()).clone()
        )
        self.D = nn.Parameter(torch.ones(h))

    def kernel(self, L):
        dt = torch.exp(self.log_dt)
        C = torch.view_as_complex(self.C)
        A = -torch.exp(self.log_A_real) + 1j * self.A_imag
        dtA = A * dt.unsqueeze(-1)
        K = dtA.unsqueeze(-1) * torch.arange(L, device=A.device)
        C = C * (torch.exp(dtA) - 1.0) / A
        return 2 * torch.einsum("hn, hnl -> hl", C, torch.exp(K)).real

    def forward(self, u):
        L = u.size(-1)
        k = self.kernel(L)
        k_f = torch.fft.rfft(k, n=2 * L)
        u_f = torch.fft.rfft(u, n=2 * L)
        y = torch.fft.irfft(u_f * k_f, n=2 * L)[..., :L]
        return y + u * self.D.unsqueeze(-1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Linear(3, 8)
        self.mamba = MambaBlock()
        self.s4 = S4D()
        self.out = nn.Sequential(nn.Conv1d(8, 16, 1), nn.GLU(dim=-2))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.emb(x)
        x = x + self.mamba(F.layer_norm(x, (8,)))
        y = self.out(F.gelu(self.s4(x.transpose(-1, -2)))).transpose(-1, -2)
        return self.head(x + y)


def build():
    return Model()


def data(rng):
    x = torch.from_numpy(rng.standard_normal((3, 11, 3))).to(torch.get_default_dtype())
    return x[:, :-1], x[:, 1:]


def train(model, data, steps):
    x, y = data
    named = list(model.named_parameters())
    opt = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if "log" not in n], "lr": 5e-3},
            {"params": [p for n, p in named if "log" in n], "lr": 1e-3, "weight_decay": 0.0},
        ]
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=[5e-3, 1e-3], total_steps=steps)
    losses = []
    for _ in range(steps):
        loss = F.smooth_l1_loss(model(x), y, beta=0.5)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        opt.step()
        scheduler.step()
        losses.append(loss.item())
    print([round(g["lr"], 9) for g in opt.param_groups])
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        decayed = [n for n, p in model.named_parameters() if not hasattr(p, "_no_weight_decay")]
        return [model(data[0]), torch.tensor(len(decayed))]
