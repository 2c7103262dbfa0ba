"""Word vectors: an n-gram model, skip-gram with negatives, EmbeddingBag, nearest words."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim


class NGram(nn.Module):
    def __init__(self, vocab_size, embedding_dim, context_size):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, embedding_dim)
        self.linear1 = nn.Linear(context_size * embedding_dim, 16)
        self.linear2 = nn.Linear(16, vocab_size)

    def forward(self, inputs):
        embeds = self.embeddings(inputs).view((1, -1))
        out = F.relu(self.linear1(embeds))
        return F.log_softmax(self.linear2(out), dim=1)


class SkipGram(nn.Module):
    def __init__(self, vocab_size, dim):
        super().__init__()
        self.u = nn.Embedding(vocab_size, dim, sparse=False)
        self.v = nn.Embedding(vocab_size, dim, max_norm=None)
        initrange = 0.5 / dim
        self.u.weight.data.uniform_(-initrange, initrange)
        self.v.weight.data.uniform_(-0, 0)

    def forward(self, pos_u, pos_v, neg_v):
        emb_u, emb_v, emb_neg = self.u(pos_u), self.v(pos_v), self.v(neg_v)
        score = torch.sum(torch.mul(emb_u, emb_v), dim=1)
        score = -F.logsigmoid(torch.clamp(score, max=10, min=-10))
        neg_score = torch.bmm(emb_neg, emb_u.unsqueeze(2)).squeeze()
        neg_score = -torch.sum(F.logsigmoid(-torch.clamp(neg_score, max=10, min=-10)), dim=1)
        return torch.mean(score + neg_score)


class TextClassification(nn.Module):
    def __init__(self, vocab_size, embed_dim, num_class):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, embed_dim)
        self.fc = nn.Linear(embed_dim, num_class)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))


def build():
    return NGram(12, 4, 2), SkipGram(12, 4), TextClassification(12, 4, 3)


def run(rng, ngram, skip, classifier):
    words = [
        "we",
        "who",
        "build",
        "nets",
        "and",
        "we",
        "who",
        "train",
        "the",
        "weights",
        "we",
        "wait",
    ]
    vocab = sorted(set(words))
    word_to_ix = {word: i for i, word in enumerate(vocab)}
    losses = []
    optimizer = optim.SGD(ngram.parameters(), lr=0.01)
    for i in range(2, len(words)):
        context = torch.tensor([word_to_ix[w] for w in words[i - 2 : i]], dtype=torch.long)
        ngram.zero_grad()
        target = torch.tensor([word_to_ix[words[i]]], dtype=torch.long)
        loss = nn.NLLLoss()(ngram(context), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    optimizer = optim.Adagrad(skip.parameters(), lr=0.1)
    for _ in range(6):
        u, v = torch.tensor(rng.integers(0, 12, (2, 5)))
        loss = skip(u, v, torch.tensor(rng.integers(0, 12, (5, 3))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    text = torch.cat([torch.tensor(rng.integers(0, 12, n)) for n in (3, 1, 4)])
    offsets = torch.tensor([0, *(3, 1, 4)][:-1]).cumsum(dim=0)
    optimizer = optim.SGD(classifier.parameters(), lr=5.0)
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(classifier(text, offsets), torch.tensor([0, 2, 1]))
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 0.1)
        optimizer.step()
        losses.append(loss.item())
    vectors = skip.u.weight / skip.u.weight.norm(dim=1, keepdim=True)
    nearest = (vectors @ vectors[3]).topk(4)
    frozen = nn.Embedding.from_pretrained(vectors.detach(), freeze=True)
    return [losses, nearest.values, nearest.indices, frozen(torch.tensor([1, 2])), vocab]
