"""Contrastive learning: normalised projections, NT-Xent, triplets, a queue of negatives."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def build():
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))


def nt_xent(z_i, z_j, temperature=0.5):
    N = z_i.size(0)
    z = F.normalize(torch.cat([z_i, z_j], dim=0), dim=1)
    similarity = torch.matmul(z, z.T) / temperature
    mask = torch.eye(2 * N, dtype=torch.bool, device=z.device)
    similarity = similarity.masked_fill(mask, -9e15)
    positives = torch.cat([torch.arange(N, 2 * N), torch.arange(N)])
    return F.cross_entropy(similarity, positives)


def info_nce(features, temperature=0.1):
    labels = torch.cat([torch.arange(len(features) // 2) for _ in range(2)], dim=0)
    labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
    features = F.normalize(features, dim=1)
    similarity_matrix = torch.matmul(features, features.T)
    mask = torch.eye(labels.shape[0], dtype=torch.bool)
    labels = labels[~mask].view(labels.shape[0], -1)
    similarity_matrix = similarity_matrix[~mask].view(similarity_matrix.shape[0], -1)
    positives = similarity_matrix[labels.bool()].view(labels.shape[0], -1)
    negatives = similarity_matrix[~labels.bool()].view(similarity_matrix.shape[0], -1)
    logits = torch.cat([positives, negatives], dim=1)
    labels = torch.zeros(logits.shape[0], dtype=torch.long)
    return F.cross_entropy(logits / temperature, labels)


def run(rng, encoder):
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3, weight_decay=1e-6)
    x = torch.tensor(rng.standard_normal((8, 6)))
    triplet = nn.TripletMarginLoss(margin=1.0, p=2)
    cosine = nn.CosineEmbeddingLoss(margin=0.2)
    queue = F.normalize(torch.tensor(rng.standard_normal((4, 16))), dim=0)
    losses = []
    for step in range(8):
        noise = torch.tensor(rng.standard_normal((8, 6)))
        z_i, z_j = encoder(x + 0.1 * noise), encoder(x - 0.1 * noise)
        loss = nt_xent(z_i, z_j) + info_nce(torch.cat([z_i, z_j]))
        loss = loss + triplet(z_i, z_j, z_j.roll(1, 0))
        loss = loss + cosine(z_i, z_j.roll(2, dims=0), -torch.ones(8))
        q, k = F.normalize(z_i, dim=1), F.normalize(z_j, dim=1).detach()
        l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", q, queue.clone().detach())
        logits = torch.cat([l_pos, l_neg], dim=1) / 0.2
        loss += F.cross_entropy(logits, torch.zeros(8, dtype=torch.long))
        ptr = step % 2 * 8
        queue[:, ptr : ptr + 8] = k.T
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [losses, queue]
