"""The quick start: a model class, loaders, a training loop, a test loop, saving, predicting."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(4 * 4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)
        )

    def forward(self, x):
        x = self.flatten(x)
        logits = self.linear_relu_stack(x)
        return logits


def build():
    device = torch.accelerator.current_accelerator().type if torch.cuda.is_available() else "cpu"
    return NeuralNetwork().to(device)


def train_loop(dataloader, model, loss_fn, optimizer):
    size = len(dataloader.dataset)
    lines = []
    model.train()
    for batch, (X, y) in enumerate(dataloader):
        pred = model(X)
        loss = loss_fn(pred, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 2 == 0:
            loss, current = loss.item(), batch * 8 + len(X)
            lines.append(f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]")
    return lines


def test_loop(dataloader, model, loss_fn):
    size = len(dataloader.dataset)
    num_batches = len(dataloader)
    test_loss, correct = 0, 0
    model.eval()
    with torch.no_grad():
        for X, y in dataloader:
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss /= num_batches
    correct /= size
    return f"Accuracy: {(100 * correct):>0.1f}%, Avg loss: {test_loss:>8f}"


def run(rng, model):
    y = torch.tensor(rng.integers(0, 3, 30))
    X = torch.tensor(rng.standard_normal((30, 1, 4, 4))) + y.view(-1, 1, 1, 1)
    loader = DataLoader(TensorDataset(X, y), batch_size=8)
    for X0, y0 in loader:
        shapes = f"Shape of X [N, C, H, W]: {tuple(X0.shape)}, y: {list(y0.shape)}"
        assert y0.dtype == torch.int64
        break
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-1)
    lines = [shapes]
    for _ in range(3):
        lines += train_loop(loader, model, loss_fn, optimizer)
        lines.append(test_loop(loader, model, loss_fn))
    torch.save(model.state_dict(), "model.pth")
    again = NeuralNetwork().to("cpu")
    again.load_state_dict(torch.load("model.pth", weights_only=True))
    again.eval()
    classes = ["a", "b", "c"]
    with torch.no_grad():
        pred = again(X[0])
        predicted, actual = classes[pred[0].argmax(0)], classes[y[0]]
    softmax = nn.Softmax(dim=1)
    lines.append(f'Predicted: "{predicted}", Actual: "{actual}"')
    return {"lines": lines, "softmax": softmax(again(X)).detach()}
