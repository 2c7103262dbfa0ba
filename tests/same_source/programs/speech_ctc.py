"""Speech recognition: 1-D convolutions, a bidirectional GRU, layer norm, CTC, greedy decoding."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ResidualCNN(nn.Module):
    def __init__(self, channels, kernel, n_feats):
        super().__init__()
        self.cnn1 = nn.Conv2d(channels, channels, kernel, 1, padding=kernel // 2)
        self.cnn2 = nn.Conv2d(channels, channels, kernel, 1, padding=kernel // 2)
        self.layer_norm1 = nn.LayerNorm(n_feats)
        self.layer_norm2 = nn.LayerNorm(n_feats)

    def forward(self, x):
        residual = x
        x = self.layer_norm1(x.transpose(2, 3).contiguous()).transpose(2, 3).contiguous()
        x = self.cnn1(F.gelu(x))
        x = self.layer_norm2(x.transpose(2, 3)).transpose(2, 3)
        x = self.cnn2(F.gelu(x))
        x += residual
        return x


class SpeechModel(nn.Module):
    def __init__(self, n_class=6, n_feats=8, rnn_dim=10):
        super().__init__()
        self.cnn = nn.Conv2d(1, 3, 3, stride=(2, 1), padding=1)
        self.rescnn_layers = nn.Sequential(*[ResidualCNN(3, 3, n_feats // 2) for _ in range(2)])
        self.conv1d = nn.Conv1d(3 * n_feats // 2, rnn_dim, kernel_size=3, padding=1)
        self.birnn = nn.GRU(rnn_dim, rnn_dim, num_layers=2, batch_first=True, bidirectional=True)
        self.classifier = nn.Sequential(
            nn.Linear(rnn_dim * 2, rnn_dim), nn.GELU(), nn.Linear(rnn_dim, n_class)
        )

    def forward(self, x):
        x = self.cnn(x)
        x = self.rescnn_layers(x)
        sizes = x.size()
        x = x.view(sizes[0], sizes[1] * sizes[2], sizes[3])
        x = self.conv1d(x).transpose(1, 2)
        x, _ = self.birnn(x)
        return self.classifier(x)


def greedy_decoder(output, blank_label=0):
    arg_maxes = torch.argmax(output, dim=2)
    decodes = []
    for args in arg_maxes:
        decode = []
        for j, index in enumerate(args):
            if index != blank_label:
                if j != 0 and index == args[j - 1]:
                    continue
                decode.append(index.item())
        decodes.append(decode)
    return decodes


def build():
    return SpeechModel()


def data(rng):
    labels = [torch.tensor(rng.integers(1, 6, n)) for n in (3, 4, 2, 5)]
    lengths = torch.tensor([len(label) for label in labels], dtype=torch.int32)
    padded = nn.utils.rnn.pad_sequence(labels, batch_first=True)
    spectrograms = torch.from_numpy(rng.random((4, 1, 8, 15))).float()
    for i, label in enumerate(labels):
        for j, c in enumerate(label):
            spectrograms[i, 0, c, 3 * j : 3 * j + 2] += 2.0
    return spectrograms, padded, torch.full((4,), 15, dtype=torch.int32), lengths


def train(model, data, steps):
    spectrograms, labels, input_lengths, label_lengths = data
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, steps_per_epoch=10, epochs=steps // 10, anneal_strategy="linear"
    )
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(spectrograms)
        output = F.log_softmax(output, dim=2)
        output = output.transpose(0, 1)
        loss = criterion(output, labels, input_lengths, label_lengths)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        output = model(data[0])
    decoded = greedy_decoder(F.log_softmax(output, dim=2))
    targets = [row[:n].tolist() for row, n in zip(data[1], data[3], strict=True)]
    return {"output": output, "decoded": decoded, "targets": targets}
