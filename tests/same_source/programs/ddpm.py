"""A denoising diffusion model of points in the plane; steps and noise come as data."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class SinusoidalEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, time):
        half_dim = self.dim // 2
        embeddings = math.log(10000) / (half_dim - 1)
        embeddings = torch.exp(torch.arange(half_dim, device=time.device) * -embeddings)
        embeddings = time[:, None] * embeddings[None, :]
        return torch.cat((embeddings.sin(), embeddings.cos()), dim=-1)


class ResidualBlock(nn.Module):
    def __init__(self, dim, time_dim):
        super().__init__()
        self.norm = nn.GroupNorm(4, dim)
        self.fc1 = nn.Linear(dim, dim)
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, 2 * dim))
        self.fc2 = nn.Linear(dim, dim)
        nn.init.normal_(self.fc2.weight, std=1e-2)

    def forward(self, x, temb):
        scale, shift = self.time(temb).chunk(2, dim=1)
        h = F.silu(self.fc1(self.norm(x)))
        h = h * (scale + 1) + shift
        return x + self.fc2(h)


class Denoiser(nn.Module):
    def __init__(self, dim=16, timesteps=50):
        super().__init__()
        self.timesteps = timesteps
        self.time_mlp = nn.Sequential(SinusoidalEmbedding(8), nn.Linear(8, dim), nn.Mish())
        self.inp = nn.Linear(2, dim)
        self.blocks = nn.ModuleList([ResidualBlock(dim, dim) for _ in range(3)])
        self.out = nn.Linear(dim, 2)
        betas = torch.linspace(1e-4, 0.05, timesteps)
        alphas = 1.0 - betas
        alphas_cumprod = torch.cumprod(alphas, axis=0)
        alphas_cumprod_prev = F.pad(alphas_cumprod[:-1], (1, 0), value=1.0)
        self.register_buffer("betas", betas)
        self.register_buffer("sqrt_recip_alphas", torch.sqrt(1.0 / alphas))
        self.register_buffer("sqrt_alphas_cumprod", torch.sqrt(alphas_cumprod))
        self.register_buffer("sqrt_one_minus", torch.sqrt(1.0 - alphas_cumprod))
        variance = betas * (1.0 - alphas_cumprod_prev) / (1.0 - alphas_cumprod)
        self.register_buffer("posterior_variance", variance, persistent=False)

    def forward(self, x, t):
        temb = self.time_mlp(t)
        h = self.inp(x)
        for block in self.blocks:
            h = block(h, temb)
        return self.out(h)


def extract(a, t, x_shape):
    batch_size = t.shape[0]
    out = a.gather(-1, t.cpu())
    return out.reshape(batch_size, *((1,) * (len(x_shape) - 1))).to(t.device)


def p_losses(model, x_start, t, noise=None, loss_type="huber"):
    if noise is None:
        noise = torch.randn_like(x_start)
    x_noisy = (
        extract(model.sqrt_alphas_cumprod, t, x_start.shape) * x_start
        + extract(model.sqrt_one_minus, t, x_start.shape) * noise
    )
    predicted = model(x_noisy, t)
    if loss_type == "l1":
        return F.l1_loss(noise, predicted)
    if loss_type == "huber":
        return F.smooth_l1_loss(noise, predicted)
    return F.mse_loss(noise, predicted)


def build():
    return Denoiser()


def data(rng):
    angle = rng.uniform(0, 2 * math.pi, 64)
    x = torch.stack([torch.tensor(angle).cos(), torch.tensor(angle).sin()], dim=-1).float()
    t = torch.tensor(rng.integers(0, 50, (30, 32)), dtype=torch.long)
    noise = torch.tensor(rng.standard_normal((30, 32, 2))).float()
    return x, t, noise


def train(model, data, steps):
    x, t, noise = data
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, amsgrad=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    losses = []
    for step in range(steps):
        batch = torch.roll(x, shifts=step, dims=0)[:32]
        loss = p_losses(model, batch, t[step], noise[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            for k, v in model.state_dict().items():
                ema[k].mul_(0.9).add_(v, alpha=0.1)
        losses.append(loss.item())
    model.ema = ema
    return losses


def evaluate(model, data):
    with torch.no_grad():
        averaged = Denoiser()
        averaged.load_state_dict(model.ema)
        averaged.to(data[0].dtype)
        loss = p_losses(averaged, data[0], torch.full((64,), 7), torch.ones_like(data[0]), "l2")
    return {"loss": loss}


@torch.no_grad()
def sample(model, data):
    img = torch.randn((6, 2), device="cpu")
    for i in reversed(range(0, model.timesteps)):
        t = torch.full((6,), i, device="cpu", dtype=torch.long)
        betas_t = extract(model.betas, t, img.shape)
        sqrt_one_minus = extract(model.sqrt_one_minus, t, img.shape)
        recip = extract(model.sqrt_recip_alphas, t, img.shape)
        model_mean = recip * (img - betas_t * model(img, t) / sqrt_one_minus)
        if i > 0:
            posterior = extract(model.posterior_variance, t, img.shape)
            img = model_mean + torch.sqrt(posterior) * torch.randn_like(img)
        else:
            img = model_mean
    assert not torch.isnan(img).any()
    return img
