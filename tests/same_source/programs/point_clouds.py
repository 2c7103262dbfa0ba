"""Point clouds and graphs: farthest points, k neighbours, chamfer distance, graph attention."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def square_distance(src, dst):
    B, N, _ = src.shape
    _, M, _ = dst.shape
    dist = -2 * torch.matmul(src, dst.permute(0, 2, 1))
    dist += torch.sum(src**2, -1).view(B, N, 1)
    dist += torch.sum(dst**2, -1).view(B, 1, M)
    return dist


def index_points(points, idx):
    B = points.shape[0]
    view_shape = list(idx.shape)
    view_shape[1:] = [1] * (len(view_shape) - 1)
    repeat_shape = list(idx.shape)
    repeat_shape[0] = 1
    batch_indices = (
        torch.arange(B, dtype=torch.long).to(points.device).view(view_shape).repeat(repeat_shape)
    )
    return points[batch_indices, idx, :]


def farthest_point_sample(xyz, npoint):
    B, N, _C = xyz.shape
    centroids = torch.zeros(B, npoint, dtype=torch.long)
    distance = torch.ones(B, N).to(xyz) * 1e10
    farthest = torch.zeros((B,), dtype=torch.long)
    batch_indices = torch.arange(B, dtype=torch.long)
    for i in range(npoint):
        centroids[:, i] = farthest
        centroid = xyz[batch_indices, farthest, :].view(B, 1, 3)
        dist = torch.sum((xyz - centroid) ** 2, -1)
        mask = dist < distance
        distance[mask] = dist[mask]
        farthest = torch.max(distance, -1)[1]
    return centroids


def query_ball_point(radius, nsample, xyz, new_xyz):
    B, N, _C = xyz.shape
    _, S, _ = new_xyz.shape
    group_idx = torch.arange(N, dtype=torch.long).view(1, 1, N).repeat([B, S, 1])
    sqrdists = square_distance(new_xyz, xyz)
    group_idx[sqrdists > radius**2] = N
    group_idx = group_idx.sort(dim=-1)[0][:, :, :nsample]
    group_first = group_idx[:, :, 0].view(B, S, 1).repeat([1, 1, nsample])
    mask = group_idx == N
    group_idx[mask] = group_first[mask]
    return group_idx


class GAT(nn.Module):
    def __init__(self, i, o, alpha=0.2):
        super().__init__()
        self.W = nn.Parameter(torch.empty(size=(i, o)))
        nn.init.xavier_uniform_(self.W.data, gain=1.414)
        self.a = nn.Parameter(torch.empty(size=(2 * o, 1)))
        nn.init.xavier_uniform_(self.a.data, gain=1.414)
        self.leakyrelu = nn.LeakyReLU(alpha)
        self.o = o

    def forward(self, h, edge_index):
        h = h @ self.W
        src, dst = edge_index
        e = self.leakyrelu(torch.cat([h[src], h[dst]], dim=-1) @ self.a).squeeze(-1)
        m = torch.full((h.size(0),), float("-inf"), dtype=h.dtype).scatter_reduce(
            0, dst, e, reduce="amax", include_self=False
        )
        p = (e - m[dst]).exp()
        s = torch.zeros(h.size(0), dtype=h.dtype).scatter_add_(0, dst, p)
        att = p / (s[dst] + 1e-16)
        out = torch.zeros_like(h)
        out.index_add_(0, dst, att.unsqueeze(-1) * h[src])
        return F.elu(out)


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp_convs = nn.ModuleList([nn.Conv2d(6, 8, 1), nn.Conv2d(8, 8, 1)])
        self.mlp_bns = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8)])
        self.gat = GAT(8, 6)
        self.dec = nn.Linear(6, 12)

    def forward(self, xyz):
        B = xyz.shape[0]
        idx = farthest_point_sample(xyz, 5)
        new_xyz = index_points(xyz, idx)
        g = query_ball_point(1.5, 4, xyz, new_xyz)
        grouped = index_points(xyz, g)
        norm = grouped - new_xyz.view(B, 5, 1, 3)
        x = torch.cat([norm, grouped], dim=-1).permute(0, 3, 2, 1)
        for i, conv in enumerate(self.mlp_convs):
            x = F.relu(self.mlp_bns[i](conv(x)))
        x = torch.max(x, 2)[0].permute(0, 2, 1).reshape(B * 5, -1)
        knn = square_distance(new_xyz, new_xyz).topk(3, dim=-1, largest=False)[1]
        offset = (torch.arange(B) * 5).view(B, 1, 1)
        src = (knn + offset).reshape(-1)
        dst = torch.arange(B * 5).repeat_interleave(3)
        x = self.gat(x, torch.stack([src, dst]))
        x = torch.stack([c.max(dim=0).values for c in x.split(5)])
        return self.dec(x).view(B, 4, 3)


def chamfer(a, b):
    d = torch.cdist(a, b)
    return d.min(dim=2)[0].mean() + d.min(dim=1)[0].mean()


def build():
    return PointNet()


def data(rng):
    return torch.tensor(rng.standard_normal((3, 12, 3)), dtype=torch.get_default_dtype())


def train(model, data, steps):
    opt = torch.optim.Adam(
        model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-08, weight_decay=1e-4
    )
    sched = torch.optim.lr_scheduler.StepLR(opt, step_size=10, gamma=0.7)
    losses = []
    for _ in range(steps):
        opt.zero_grad()
        loss = chamfer(model(data), data)
        loss.backward()
        opt.step()
        sched.step()
        losses.append(loss.item())
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        return [model(data), farthest_point_sample(data, 4), square_distance(data, data)]
