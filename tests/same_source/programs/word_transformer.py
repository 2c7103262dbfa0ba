"""A word language model with nn.TransformerEncoder and sinusoidal positions."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.1, max_len=50):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        pe = pe.unsqueeze(0).transpose(0, 1)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[: x.size(0), :]
        return self.dropout(x)


class TransformerModel(nn.Module):
    def __init__(self, ntoken, ninp, nhead, nhid, nlayers, dropout=0.5):
        super().__init__()
        self.src_mask = None
        self.pos_encoder = PositionalEncoding(ninp, dropout)
        layer = nn.TransformerEncoderLayer(ninp, nhead, nhid, dropout)
        self.encoder = nn.TransformerEncoder(layer, nlayers, enable_nested_tensor=False)
        self.input_emb = nn.Embedding(ntoken, ninp)
        self.ninp = ninp
        self.decoder = nn.Linear(ninp, ntoken)
        self.init_weights()

    def _generate_square_subsequent_mask(self, sz):
        return torch.log(torch.tril(torch.ones(sz, sz)))

    def init_weights(self):
        initrange = 0.1
        nn.init.uniform_(self.input_emb.weight, -initrange, initrange)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -initrange, initrange)

    def forward(self, src, has_mask=True):
        if has_mask:
            device = src.device
            if self.src_mask is None or self.src_mask.size(0) != len(src):
                mask = self._generate_square_subsequent_mask(len(src)).to(device)
                self.src_mask = mask
        else:
            self.src_mask = None
        src = self.input_emb(src) * math.sqrt(self.ninp)
        src = self.pos_encoder(src)
        output = self.encoder(src, mask=self.src_mask)
        output = self.decoder(output)
        return F.log_softmax(output, dim=-1)


def build():
    return TransformerModel(23, 16, 4, 32, 2, dropout=0.0)


def data(rng):
    ids = torch.tensor(rng.integers(0, 5, 400).cumsum() % 23)
    nbatch = ids.size(0) // 4
    return ids[: nbatch * 4].view(4, -1).t().contiguous()


def train(model, source, steps):
    criterion = nn.NLLLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1.0, gamma=0.95)
    losses = []
    while len(losses) < steps:
        model.train()
        for i in range(0, source.size(0) - 1, 10):
            seq_len = min(10, len(source) - 1 - i)
            inputs = source[i : i + seq_len]
            targets = source[i + 1 : i + 1 + seq_len].reshape(-1)
            optimizer.zero_grad()
            output = model(inputs)
            loss = criterion(output.view(-1, 23), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        print(f"lr {scheduler.get_last_lr()[0]:.3f} ppl {math.exp(losses[-1]):.2f}")
    return losses


def evaluate(model, source):
    model.eval()
    with torch.no_grad():
        output = model(source[:10]).view(-1, 23)
        right = output.argmax(1).eq(source[1:11].reshape(-1)).sum().item()
        unmasked = model(source[:10], has_mask=False)
    return {
        "ppl": F.nll_loss(output, source[1:11].reshape(-1)).exp(),
        "right": right,
        "u": unmasked,
    }


def sample(model, source):
    input = torch.randint(23, (1, 1), dtype=torch.long)
    with torch.no_grad():
        for _ in range(12):
            output = model(input, False)
            word_weights = output[-1].squeeze().div(1.0).exp().cpu()
            word_idx = torch.multinomial(word_weights, 1)[0]
            word_tensor = torch.Tensor([[word_idx]]).long()
            input = torch.cat([input, word_tensor], 0)
    return input
