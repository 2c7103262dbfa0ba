"""A VQ-VAE: a codebook of moving averages, straight-through gradients, perplexity."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class VectorQuantizerEMA(nn.Module):
    def __init__(self, num_embeddings, embedding_dim, commitment_cost, decay, epsilon=1e-5):
        super(VectorQuantizerEMA, self).__init__()
        self._embedding_dim = embedding_dim
        self._num_embeddings = num_embeddings
        self._embedding = nn.Embedding(self._num_embeddings, self._embedding_dim)
        self._embedding.weight.data.normal_()
        self._commitment_cost = commitment_cost
        self.register_buffer("_ema_cluster_size", torch.zeros(num_embeddings))
        self._ema_w = nn.Parameter(torch.Tensor(num_embeddings, self._embedding_dim))
        self._ema_w.data.normal_()
        self._decay = decay
        self._epsilon = epsilon

    def forward(self, inputs):
        inputs = inputs.permute(0, 2, 3, 1).contiguous()
        input_shape = inputs.shape
        flat_input = inputs.view(-1, self._embedding_dim)
        distances = (
            torch.sum(flat_input**2, dim=1, keepdim=True)
            + torch.sum(self._embedding.weight**2, dim=1)
            - 2 * torch.matmul(flat_input, self._embedding.weight.t())
        )
        encoding_indices = torch.argmin(distances, dim=1).unsqueeze(1)
        encodings = torch.zeros(
            encoding_indices.shape[0], self._num_embeddings, device=inputs.device
        )
        encodings.scatter_(1, encoding_indices, 1)
        quantized = torch.matmul(encodings, self._embedding.weight).view(input_shape)

        if self.training:
            self._ema_cluster_size = self._ema_cluster_size * self._decay + (
                1 - self._decay
            ) * torch.sum(encodings, 0)
            n = torch.sum(self._ema_cluster_size.data)
            self._ema_cluster_size = (
                (self._ema_cluster_size + self._epsilon)
                / (n + self._num_embeddings * self._epsilon)
                * n
            )
            dw = torch.matmul(encodings.t(), flat_input)
            self._ema_w = nn.Parameter(self._ema_w * self._decay + (1 - self._decay) * dw)
            self._embedding.weight = nn.Parameter(self._ema_w / self._ema_cluster_size.unsqueeze(1))

        e_latent_loss = F.mse_loss(quantized.detach(), inputs)
        loss = self._commitment_cost * e_latent_loss
        quantized = inputs + (quantized - inputs).detach()
        avg_probs = torch.mean(encodings, dim=0)
        perplexity = torch.exp(-torch.sum(avg_probs * torch.log(avg_probs + 1e-10)))
        return loss, quantized.permute(0, 3, 1, 2).contiguous(), perplexity, encodings


class Residual(nn.Module):
    def __init__(self, channels, residual):
        super(Residual, self).__init__()
        self._block = nn.Sequential(
            nn.ReLU(True),
            nn.Conv2d(channels, residual, kernel_size=3, stride=1, padding=1, bias=False),
            nn.ReLU(True),
            nn.Conv2d(residual, channels, kernel_size=1, stride=1, bias=False),
        )

    def forward(self, x):
        return x + self._block(x)


class Model(nn.Module):
    def __init__(self, hidden=8, embedding_dim=4, decay=0.9):
        super(Model, self).__init__()
        self._encoder = nn.Sequential()
        self._encoder.add_module("conv_1", nn.Conv2d(1, hidden, 4, stride=2, padding=1))
        self._encoder.add_module("residual", Residual(hidden, 4))
        self._pre_vq_conv = nn.Conv2d(hidden, embedding_dim, kernel_size=1)
        self._vq_vae = VectorQuantizerEMA(12, embedding_dim, 0.25, decay)
        self._decoder = nn.ModuleDict(
            {
                "conv": nn.Conv2d(embedding_dim, hidden, 3, padding=1),
                "stack": nn.ModuleList([Residual(hidden, 4) for _ in range(2)]),
                "trans": nn.ConvTranspose2d(hidden, 1, 4, stride=2, padding=1),
            }
        )

    def decode(self, x):
        x = self._decoder["conv"](x)
        for i in range(len(self._decoder["stack"])):
            x = self._decoder["stack"][i](x)
        return self._decoder["trans"](F.relu(x))

    def forward(self, x):
        z = self._pre_vq_conv(self._encoder(x))
        loss, quantized, perplexity, _ = self._vq_vae(z)
        return loss, self.decode(quantized), perplexity


def build():
    return Model()


def data(rng):
    x = torch.from_numpy(rng.standard_normal((16, 1, 8, 8)))
    return F.avg_pool2d(x, 3, 1, 1), torch.var(x)


def train(model, data, steps):
    x, data_variance = data
    vq = ["_vq_vae." + name for name, _ in model._vq_vae.named_parameters()]
    learned = [p for name, p in model.named_parameters() if name not in vq]
    optimizer = torch.optim.Adam(learned, lr=2e-3, amsgrad=False)
    losses, train_res_perplexity = [], []

    def train_step(images):
        optimizer.zero_grad()
        vq_loss, data_recon, perplexity = model(images)
        recon_error = F.mse_loss(data_recon, images) / data_variance
        loss = recon_error + vq_loss
        loss.backward()
        optimizer.step()
        return loss, perplexity

    for i in range(steps):
        loss, perplexity = train_step(x.roll(-4 * i, 0)[:8])
        train_res_perplexity.append(perplexity.item())
        losses.append(loss.item())
        if (i + 1) % 10 == 0:
            print("%d iterations" % (i + 1))
            print("perplexity: %.3f" % (sum(train_res_perplexity[-10:]) / 10))
    return losses


@torch.inference_mode()
def evaluate(model, data):
    model.eval()
    z = model._pre_vq_conv(model._encoder(data[0]))
    _, quantized, perplexity, encodings = model._vq_vae(z)
    codes = encodings.argmax(-1).view(16, 4, 4)
    used, counts = codes.unique(return_counts=True)
    return [model.decode(quantized), perplexity, codes, used, counts]
