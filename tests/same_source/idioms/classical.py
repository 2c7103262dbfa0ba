"""k-NN with cdist, k-means, PCA by SVD, least squares, a kernel, without any network."""

import torch


def run(rng):
    x = torch.from_numpy(rng.standard_normal((30, 5)))
    labels = torch.from_numpy(rng.integers(0, 3, 30))
    query = torch.from_numpy(rng.standard_normal((7, 5)))

    dist = torch.cdist(query, x)
    knn = dist.topk(5, largest=False)
    votes = labels[knn.indices].mode(dim=1).values

    centroids = x[:3].clone()
    for _ in range(5):
        assign = torch.cdist(x, centroids).argmin(dim=1)
        for k in range(3):
            members = x[assign == k]
            if len(members) > 0:
                centroids[k] = members.mean(dim=0)
    inertia = ((x - centroids[assign]) ** 2).sum()

    centred = x - x.mean(dim=0, keepdim=True)
    U, S, Vh = torch.linalg.svd(centred, full_matrices=False)
    projected = centred @ Vh[:2].T
    explained = S**2 / (S**2).sum()
    cov = centred.T @ centred / (x.shape[0] - 1)
    values, vectors = torch.linalg.eigh(cov)

    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]) + 0.1
    X = torch.cat([torch.ones(30, 1), x], dim=1)
    beta = torch.linalg.solve(X.T @ X, X.T @ y)
    same = torch.linalg.lstsq(X, y.unsqueeze(1)).solution.squeeze()
    inverse = torch.inverse(X.T @ X + 1e-3 * torch.eye(6))
    kernel = torch.exp(-0.5 * torch.cdist(x, x).pow(2)) + 1e-6 * torch.eye(30)
    chol = torch.linalg.cholesky(kernel)
    alpha = torch.cholesky_solve(y.unsqueeze(-1), chol)
    logdet = 2 * chol.diagonal().log().sum()
    return {
        "knn": [knn.values, knn.indices, votes],
        "kmeans": [assign, centroids, inertia],
        "pca": [
            projected.abs(),
            explained,
            values,
            vectors.abs(),
            (U * S @ Vh - centred).abs().max() < 1e-12,
        ],
        "lstsq": [beta, same, inverse, torch.det(cov), torch.trace(cov)],
        "kernel": [alpha, logdet, torch.logdet(kernel), torch.linalg.slogdet(kernel)[1]],
        "norms": [x.norm(), x.norm(dim=1), torch.norm(x, p=1), torch.linalg.norm(x, dim=0)],
        "products": [torch.dot(y, y), torch.outer(y[:3], y[:2]), torch.mv(x, x[0]), x[0] @ x[1]],
    }
