"""Sentences of unequal length: padding, packing, a bidirectional LSTM, masks, the last state."""

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence


class Classifier(nn.Module):
    def __init__(self, vocab_size=20, embedding_dim=6, hidden_dim=5, num_classes=2):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden_dim, num_classes)

    def forward(self, text, lengths):
        embedded = self.embedding(text)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        packed_output, (hidden, _) = self.lstm(packed)
        output, output_lengths = pad_packed_sequence(packed_output, batch_first=True)
        hidden = torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1)
        mask = torch.arange(output.size(1))[None, :] < output_lengths[:, None]
        pooled = (output * mask.unsqueeze(-1)).sum(1) / output_lengths.unsqueeze(-1)
        return self.fc(hidden + pooled)


def build():
    return Classifier(), nn.GRU(6, 4, bidirectional=True)


def run(rng, model, gru):
    sentences = [torch.tensor(rng.integers(1, 20, n)) for n in (4, 7, 2, 5)]
    lengths = torch.tensor([len(s) for s in sentences])
    text = pad_sequence(sentences, batch_first=True)
    labels = torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.Adam(model.parameters())
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(text, lengths), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    steps, last = gru(torch.tensor(rng.standard_normal((5, 3, 6))))
    one, _ = gru(torch.tensor(rng.standard_normal((5, 6))))
    return [text, losses, model.embedding.weight.grad[0], steps, last, one]
