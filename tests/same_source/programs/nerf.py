"""A radiance field of rays: positional encoding, alpha compositing, hierarchical sampling."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Encoder(nn.Module):
    def __init__(self, n_freqs=4, log_space=True):
        super().__init__()
        self.n_freqs = n_freqs
        if log_space:
            freq_bands = 2.0 ** torch.linspace(0.0, n_freqs - 1, n_freqs)
        else:
            freq_bands = torch.linspace(1.0, 2.0 ** (n_freqs - 1), n_freqs)
        self.embed_fns = [lambda x: x]
        for freq in freq_bands:
            self.embed_fns.append(lambda x, freq=freq: torch.sin(x * freq))
            self.embed_fns.append(lambda x, freq=freq: torch.cos(x * freq))

    def forward(self, x):
        return torch.concat([fn(x) for fn in self.embed_fns], dim=-1)


class NeRF(nn.Module):
    def __init__(self, d_in=27, d_filter=16, n_layers=3, skip=(1,), d_viewdirs=27):
        super().__init__()
        self.skip = skip
        self.act = nn.functional.relu
        self.layers = nn.ModuleList(
            [nn.Linear(d_in, d_filter)]
            + [
                nn.Linear(d_filter + d_in, d_filter) if i in skip else nn.Linear(d_filter, d_filter)
                for i in range(n_layers - 1)
            ]
        )
        self.alpha_out = nn.Linear(d_filter, 1)
        self.rgb_filters = nn.Linear(d_filter, d_filter)
        self.branch = nn.Linear(d_filter + d_viewdirs, d_filter // 2)
        self.output = nn.Linear(d_filter // 2, 3)
        self.encode = Encoder()

    def forward(self, pts, viewdirs):
        x_input = x = self.encode(pts)
        for i, layer in enumerate(self.layers):
            x = self.act(layer(x))
            if i in self.skip:
                x = torch.cat([x, x_input], dim=-1)
        alpha = self.alpha_out(x)
        x = self.rgb_filters(x)
        x = torch.concat([x, self.encode(viewdirs)], dim=-1)
        x = self.output(self.act(self.branch(x)))
        return torch.concat([x, alpha], dim=-1)


def cumprod_exclusive(tensor):
    cumprod = torch.cumprod(tensor, -1)
    cumprod = torch.roll(cumprod, 1, -1)
    cumprod[..., 0] = 1.0
    return cumprod


def raw2outputs(raw, z_vals, rays_d, white_bkgd=True):
    dists = z_vals[..., 1:] - z_vals[..., :-1]
    dists = torch.cat([dists, 1e10 * torch.ones_like(dists[..., :1])], dim=-1)
    dists = dists * torch.norm(rays_d[..., None, :], dim=-1)
    alpha = 1.0 - torch.exp(-nn.functional.relu(raw[..., 3]) * dists)
    weights = alpha * cumprod_exclusive(1.0 - alpha + 1e-10)
    rgb = torch.sigmoid(raw[..., :3])
    rgb_map = torch.sum(weights[..., None] * rgb, dim=-2)
    depth_map = torch.sum(weights * z_vals, dim=-1)
    disp_map = 1.0 / torch.max(
        1e-10 * torch.ones_like(depth_map), depth_map / (torch.sum(weights, -1) + 1e-10)
    )
    acc_map = torch.sum(weights, dim=-1)
    if white_bkgd:
        rgb_map = rgb_map + (1.0 - acc_map[..., None])
    return rgb_map, depth_map, disp_map, acc_map, weights


def sample_pdf(bins, weights, n_samples):
    pdf = (weights + 1e-5) / torch.sum(weights + 1e-5, -1, keepdims=True)
    cdf = torch.cumsum(pdf, dim=-1)
    cdf = torch.concat([torch.zeros_like(cdf[..., :1]), cdf], dim=-1)
    u = torch.linspace(0.0, 1.0, n_samples, device=cdf.device)
    u = u.expand(list(cdf.shape[:-1]) + [n_samples]).contiguous()
    inds = torch.searchsorted(cdf, u, right=True)
    below = torch.clamp(inds - 1, min=0)
    above = torch.clamp(inds, max=cdf.shape[-1] - 1)
    inds_g = torch.stack([below, above], dim=-1)
    matched_shape = list(inds_g.shape[:-1]) + [cdf.shape[-1]]
    cdf_g = torch.gather(cdf.unsqueeze(-2).expand(matched_shape), dim=-1, index=inds_g)
    bins_g = torch.gather(bins.unsqueeze(-2).expand(matched_shape), dim=-1, index=inds_g)
    denom = cdf_g[..., 1] - cdf_g[..., 0]
    denom = torch.where(denom < 1e-5, torch.ones_like(denom), denom)
    t = (u - cdf_g[..., 0]) / denom
    return bins_g[..., 0] + t * (bins_g[..., 1] - bins_g[..., 0])


def build():
    return NeRF()


def data(rng):
    rays_o = torch.from_numpy(rng.standard_normal((6, 3))).to(torch.get_default_dtype())
    rays_d = torch.from_numpy(rng.standard_normal((6, 3))).to(torch.get_default_dtype())
    target = torch.from_numpy(rng.random((6, 3))).to(torch.get_default_dtype())
    return rays_o, rays_d, target


def render(model, rays_o, rays_d, n=8, fine=5):
    t_vals = torch.linspace(0.0, 1.0, n)
    z_vals = 2.0 * (1.0 - t_vals) + 6.0 * t_vals
    z_vals = z_vals.expand(list(rays_o.shape[:-1]) + [n])
    pts = rays_o[..., None, :] + rays_d[..., None, :] * z_vals[..., :, None]
    viewdirs = rays_d / torch.norm(rays_d, dim=-1, keepdim=True)
    viewdirs = viewdirs[:, None, ...].expand(pts.shape)
    raw = model(pts.reshape(-1, 3), viewdirs.reshape(-1, 3))
    raw = raw.reshape(list(pts.shape[:2]) + [raw.shape[-1]])
    coarse, _, _, _, weights = raw2outputs(raw, z_vals, rays_d)
    z_mid = 0.5 * (z_vals[..., 1:] + z_vals[..., :-1])
    new = sample_pdf(z_mid, weights[..., 1:-1], fine).detach()
    z_all, _ = torch.sort(torch.cat([z_vals, new], dim=-1), dim=-1)
    pts = rays_o[..., None, :] + rays_d[..., None, :] * z_all[..., :, None]
    dirs = (rays_d / rays_d.norm(dim=-1, keepdim=True))[:, None].expand(pts.shape)
    raw = model(pts.reshape(-1, 3), dirs.reshape(-1, 3)).view(*pts.shape[:2], -1)
    return coarse, raw2outputs(raw, z_all, rays_d)


def train(model, data, steps):
    rays_o, rays_d, target = data
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(steps):
        model.train()
        coarse, (fine, _depth, _disp, _acc, _) = render(model, rays_o, rays_d)
        loss = F.mse_loss(coarse, target) + torch.nn.functional.mse_loss(fine, target)
        psnr = -10.0 * torch.log10(loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert psnr.item() < 100
    return losses


def evaluate(model, data):
    with torch.no_grad():
        _, (fine, depth, _disp, acc, _w) = render(model, data[0], data[1])
    return [fine, depth, acc]
