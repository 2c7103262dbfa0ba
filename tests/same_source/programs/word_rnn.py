"""A word language model with an LSTM, a GRU or an Elman network, and truncated backpropagation."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

VARIANTS = ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"]


class RNNModel(nn.Module):
    def __init__(self, rnn_type, ntoken, ninp, nhid, nlayers, dropout=0.5, tie_weights=False):
        super().__init__()
        self.ntoken = ntoken
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, ninp)
        if rnn_type in ["LSTM", "GRU"]:
            self.rnn = getattr(nn, rnn_type)(ninp, nhid, nlayers, dropout=dropout)
        else:
            nonlinearity = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}[rnn_type]
            self.rnn = nn.RNN(ninp, nhid, nlayers, nonlinearity=nonlinearity, dropout=dropout)
        self.decoder = nn.Linear(nhid, ntoken)
        if tie_weights:
            if nhid != ninp:
                raise ValueError("When using the tied flag, nhid must be equal to emsize")
            self.decoder.weight = self.encoder.weight
        self.init_weights()
        self.rnn_type = rnn_type
        self.nhid = nhid
        self.nlayers = nlayers

    def init_weights(self):
        initrange = 0.1
        nn.init.uniform_(self.encoder.weight, -initrange, initrange)
        nn.init.zeros_(self.decoder.bias)
        self.decoder.weight.data.uniform_(-initrange, initrange)

    def forward(self, input, hidden):
        emb = self.drop(self.encoder(input))
        output, hidden = self.rnn(emb, hidden)
        output = self.drop(output)
        decoded = self.decoder(output)
        decoded = decoded.view(-1, self.ntoken)
        return F.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        if self.rnn_type == "LSTM":
            return (
                weight.new_zeros(self.nlayers, bsz, self.nhid),
                weight.new_zeros(self.nlayers, bsz, self.nhid),
            )
        return weight.new_zeros(self.nlayers, bsz, self.nhid)


def repackage_hidden(h):
    """Wraps hidden states in new Tensors, to detach them from their history."""
    if isinstance(h, torch.Tensor):
        return h.detach()
    return tuple(repackage_hidden(v) for v in h)


def batchify(data, bsz):
    nbatch = data.size(0) // bsz
    data = data.narrow(0, 0, nbatch * bsz)
    data = data.view(bsz, -1).t().contiguous()
    return data.to("cpu")


def get_batch(source, i, bptt=7):
    seq_len = min(bptt, len(source) - 1 - i)
    data = source[i : i + seq_len]
    target = source[i + 1 : i + 1 + seq_len].view(-1)
    return data, target


def build(variant):
    return RNNModel(variant, ntoken=23, ninp=12, nhid=12, nlayers=2, dropout=0, tie_weights=True)


def data(rng):
    ids = torch.tensor(rng.integers(0, 5, 450).cumsum() % 23).type(torch.int64)
    return batchify(ids, 4), batchify(ids[:100], 2)


def train(model, data, steps):
    train_data = data[0]
    criterion = nn.NLLLoss()
    lr, clip, best_val_loss = 2.0, 0.25, None
    losses = []
    while len(losses) < steps:
        model.train()
        total_loss = 0.0
        hidden = model.init_hidden(4)
        for _, i in enumerate(range(0, train_data.size(0) - 1, 7)):
            inputs, targets = get_batch(train_data, i)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = model(inputs, hidden)
            loss = criterion(output, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-lr)
            total_loss += loss.item()
            losses.append(loss.item())
        val_loss = evaluate(model, data)["loss"]
        print(f"valid loss {val_loss:5.2f} | valid ppl {math.exp(val_loss):8.2f}")
        if not best_val_loss or val_loss < best_val_loss:
            best_val_loss = val_loss
        else:
            lr /= 4.0
    return losses


def evaluate(model, data):
    model.eval()
    total_loss = 0.0
    source = data[1]
    criterion = nn.NLLLoss()
    hidden = model.init_hidden(2)
    with torch.no_grad():
        for i in range(0, source.size(0) - 1, 7):
            inputs, targets = get_batch(source, i)
            output, hidden = model(inputs, hidden)
            hidden = repackage_hidden(hidden)
            total_loss += len(inputs) * criterion(output, targets).item()
    return {"loss": total_loss / (len(source) - 1)}


def sample(model, data):
    hidden = model.init_hidden(1)
    input = torch.randint(model.ntoken, (1, 1), dtype=torch.long)
    words = []
    with torch.no_grad():
        for _ in range(12):
            output, hidden = model(input, hidden)
            word_weights = output.squeeze().div(0.8).exp().cpu()
            word_idx = torch.multinomial(word_weights, 1)[0]
            input.fill_(word_idx)
            words.append(word_idx.item())
    return torch.tensor(words)
