"""A variational autoencoder of binary images; the noise comes with the data."""

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    def __init__(self):
        super(VAE, self).__init__()
        self.fc1 = nn.Linear(64, 40)
        self.fc21 = nn.Linear(40, 5)
        self.fc22 = nn.Linear(40, 5)
        self.fc3 = nn.Linear(5, 40)
        self.fc4 = nn.Linear(40, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar, eps=None):
        std = torch.exp(0.5 * logvar)
        if eps is None:
            eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x, eps=None):
        mu, logvar = self.encode(x.view(-1, 64))
        z = self.reparameterize(mu, logvar, eps)
        return self.decode(z), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD


def build():
    return VAE()


def data(rng):
    centres = rng.random((4, 1, 8, 8)) < 0.5
    images = centres[rng.integers(0, 4, 60)] ^ (rng.random((60, 1, 8, 8)) < 0.1)
    eps = rng.standard_normal((60, 5))
    return torch.from_numpy(images).float(), torch.tensor(eps, dtype=torch.float32)


def train(model, data, steps):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    train_loader = DataLoader(TensorDataset(*data), batch_size=20, shuffle=False)
    losses = []
    while len(losses) < steps:
        model.train()
        train_loss = 0
        for batch_idx, (x, eps) in enumerate(train_loader):
            x, eps = x.to(device), eps.to(device)
            optimizer.zero_grad()
            recon_batch, mu, logvar = model(x, eps)
            loss = loss_function(recon_batch, x, mu, logvar)
            loss.backward()
            train_loss += loss.item()
            optimizer.step()
            losses.append(loss.item() / len(x))
            if batch_idx % 10 == 0:
                print(
                    "[{}/{} ({:.0f}%)]\tLoss: {:.6f}".format(
                        batch_idx * len(x),
                        len(train_loader.dataset),
                        100.0 * batch_idx / len(train_loader),
                        loss.item() / len(x),
                    )
                )
        print(f"average loss: {train_loss / len(train_loader.dataset):.4f}")
    return losses


def evaluate(model, data):
    model.eval()
    images, eps = data
    test_loss = 0
    with torch.no_grad():
        recon, mu, logvar = model(images, eps)
        test_loss += loss_function(recon, images, mu, logvar).item()
        n = min(images.size(0), 8)
        comparison = torch.cat([images[:n], recon.view(60, 1, 8, 8)[:n]])
    return {"loss": test_loss / len(images), "comparison": comparison.cpu()}


def sample(model, data):
    with torch.no_grad():
        z = torch.randn(16, 5).to("cpu")
        images = model.decode(z).cpu()
        recon, _, _ = model(data[0])
    assert 0 <= images.min() <= images.max() <= 1
    return torch.cat([images, recon]).view(-1, 1, 8, 8)
