"""A masked language model: nn.TransformerEncoder, segments, padding, tied decoder, pooler."""

import math

import torch
from torch import nn
from torch.nn import CrossEntropyLoss


class BertEmbeddings(nn.Module):
    def __init__(self, vocab_size, hidden_size, max_position=16, type_vocab_size=2):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(max_position, hidden_size)
        self.token_type_embeddings = nn.Embedding(type_vocab_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=1e-12)
        self.dropout = nn.Dropout(0.0)
        self.register_buffer("position_ids", torch.arange(max_position).expand((1, -1)))

    def forward(self, input_ids, token_type_ids=None):
        seq_length = input_ids.size(1)
        position_ids = self.position_ids[:, :seq_length]
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        embeddings = self.word_embeddings(input_ids) + self.position_embeddings(position_ids)
        embeddings = embeddings + self.token_type_embeddings(token_type_ids)
        return self.dropout(self.LayerNorm(embeddings))


class MaskedLM(nn.Module):
    def __init__(self, vocab_size=25, hidden_size=16):
        super().__init__()
        self.embeddings = BertEmbeddings(vocab_size, hidden_size)
        layer = nn.TransformerEncoderLayer(
            d_model=hidden_size,
            nhead=4,
            dim_feedforward=32,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, num_layers=2, norm=nn.LayerNorm(hidden_size), enable_nested_tensor=False
        )
        self.transform = nn.Sequential(
            nn.Linear(hidden_size, hidden_size), nn.GELU("tanh"), nn.LayerNorm(hidden_size)
        )
        self.decoder = nn.Linear(hidden_size, vocab_size, bias=False)
        self.decoder.weight = self.embeddings.word_embeddings.weight
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.pooler = nn.Linear(hidden_size, 2)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.data.zero_()
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight.data[module.padding_idx].zero_()
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)

    def forward(self, input_ids, token_type_ids=None, labels=None, next_label=None):
        attention_mask = input_ids.ne(0)
        hidden = self.embeddings(input_ids, token_type_ids)
        hidden = self.encoder(hidden, src_key_padding_mask=~attention_mask)
        scores = self.decoder(self.transform(hidden)) + self.bias
        pooled = self.pooler(torch.tanh(hidden[:, 0]))
        loss = None
        if labels is not None:
            loss_fct = CrossEntropyLoss(ignore_index=-100)
            masked_lm_loss = loss_fct(scores.view(-1, scores.size(-1)), labels.view(-1))
            loss = masked_lm_loss + loss_fct(pooled.view(-1, 2), next_label.view(-1))
        return {"loss": loss, "logits": scores, "pooled": pooled}


def build():
    return MaskedLM()


def data(rng):
    ids = torch.from_numpy(rng.integers(3, 25, (12, 10)))
    lengths = torch.from_numpy(rng.integers(5, 11, 12))
    ids[torch.arange(10)[None] >= lengths[:, None]] = 0
    probability = torch.full(ids.shape, 0.3)
    chosen = (torch.from_numpy(rng.random(tuple(ids.shape))) < probability) & (ids != 0)
    labels = ids.masked_fill(~chosen, -100)
    inputs = torch.where(chosen, torch.tensor(2), ids)
    segments = (torch.arange(10).unsqueeze(0).expand(12, -1) >= 5).long()
    return inputs, segments, labels, torch.from_numpy(rng.integers(0, 2, 12))


def train(model, data, steps):
    inputs, segments, labels, following = data
    no_decay = ["bias", "LayerNorm.weight"]
    optimizer_grouped_parameters = [
        {
            "params": [
                p for n, p in model.named_parameters() if not any(nd in n for nd in no_decay)
            ],
            "weight_decay": 0.01,
        },
        {
            "params": [p for n, p in model.named_parameters() if any(nd in n for nd in no_decay)],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.AdamW(optimizer_grouped_parameters, lr=5e-3, eps=1e-8)

    def lr_lambda(current_step):
        if current_step < 3:
            return float(current_step) / float(max(1, 3))
        return max(0.0, float(steps - current_step) / float(max(1, steps - 3)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda, last_epoch=-1)
    losses = []
    tr_loss = torch.tensor(0.0)
    for step in range(steps):
        model.train()
        rows = torch.arange(12).roll(step)[:6]
        batch = tuple(
            t.to("cpu") for t in (inputs[rows], segments[rows], labels[rows], following[rows])
        )
        outputs = model(batch[0], token_type_ids=batch[1], labels=batch[2], next_label=batch[3])
        loss = outputs["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        model.zero_grad()
        tr_loss += loss.detach()
        losses.append(loss.item())
    print(f"mean loss {tr_loss.item() / steps:.6f}, perplexity {math.exp(losses[-1]):.3f}")
    return losses


@torch.no_grad()
def evaluate(model, data):
    model.eval()
    out = model(data[0], data[1])
    preds = out["logits"].argmax(-1)
    mask = data[2] != -100
    right = (preds[mask] == data[2][mask]).float().mean()
    top = out["logits"][mask].topk(3).indices
    return {"logits": out["logits"], "right": right, "top": top, "pooled": out["pooled"].softmax(1)}
