"""A neural Turing machine on the copy task: content and location addressing, circular shifts."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def _convolve(w, s):
    assert s.size(0) == 3
    t = torch.cat([w[-1:], w, w[:1]])
    return F.conv1d(t.view(1, 1, -1), s.view(1, 1, -1)).view(-1)


def _split_cols(mat, lengths):
    assert mat.size()[1] == sum(lengths), "Lengths must be summed to num columns"
    starts = torch.cumsum(torch.Tensor([0] + lengths).long(), dim=0)
    return [mat[:, s:e] for s, e in zip(starts[:-1], starts[1:])]


class NTMMemory(nn.Module):
    def __init__(self, N, M):
        super(NTMMemory, self).__init__()
        self.N, self.M = N, M
        self.register_buffer("mem_bias", torch.Tensor(N, M))
        stdev = 1 / (N + M) ** 0.5
        nn.init.uniform_(self.mem_bias, -stdev, stdev)

    def reset(self, batch_size):
        self.batch_size = batch_size
        self.memory = self.mem_bias.clone().repeat(batch_size, 1, 1)

    def read(self, w):
        return torch.matmul(w.unsqueeze(1), self.memory).squeeze(1)

    def write(self, w, e, a):
        self.prev_mem = self.memory
        erase = torch.matmul(w.unsqueeze(-1), e.unsqueeze(1))
        add = torch.matmul(w.unsqueeze(-1), a.unsqueeze(1))
        self.memory = self.prev_mem * (1 - erase) + add

    def address(self, k, beta, g, s, gamma, w_prev):
        k = k.view(self.batch_size, 1, -1)
        wc = F.softmax(beta * F.cosine_similarity(self.memory + 1e-16, k + 1e-16, dim=-1), dim=1)
        wg = g * wc + (1 - g) * w_prev
        result = torch.zeros(wg.size())
        for b in range(self.batch_size):
            result[b] = _convolve(wg[b], s[b])
        w = result**gamma
        return torch.div(w, torch.sum(w, dim=1).view(-1, 1) + 1e-16)


class Head(nn.Module):
    def __init__(self, memory, controller_size, write):
        super().__init__()
        self.memory = memory
        M = memory.M
        self.lengths = [M, 1, 1, 3, 1] + ([M, M] if write else [])
        self.fc = nn.Linear(controller_size, sum(self.lengths))
        nn.init.xavier_uniform_(self.fc.weight, gain=1.4)
        nn.init.normal_(self.fc.bias, std=0.01)
        self.write = write

    def forward(self, embeddings, w_prev):
        k, beta, g, s, gamma, *rest = _split_cols(self.fc(embeddings), self.lengths)
        w = self.memory.address(
            k.clone(),
            F.softplus(beta),
            torch.sigmoid(g),
            F.softmax(s, dim=1),
            1 + F.softplus(gamma),
            w_prev,
        )
        if not self.write:
            return self.memory.read(w), w
        e, a = rest
        self.memory.write(w, torch.sigmoid(e), a)
        return None, w


class NTM(nn.Module):
    def __init__(self, num_inputs=5, num_outputs=4, controller_size=12, N=8, M=6):
        super(NTM, self).__init__()
        self.memory = NTMMemory(N, M)
        self.controller = nn.LSTMCell(num_inputs + M, controller_size)
        self.lstm_h_bias = nn.Parameter(torch.randn(1, controller_size) * 0.05)
        self.lstm_c_bias = nn.Parameter(torch.randn(1, controller_size) * 0.05)
        self.heads = nn.ModuleList(
            [Head(self.memory, controller_size, False), Head(self.memory, controller_size, True)]
        )
        self.register_buffer("init_r", torch.randn(1, M) * 0.01)
        self.fc = nn.Linear(controller_size + M, num_outputs)

    def init_sequence(self, batch_size):
        self.memory.reset(batch_size)
        h = self.lstm_h_bias.clone().expand(batch_size, -1)
        c = self.lstm_c_bias.clone().expand(batch_size, -1)
        ws = [torch.zeros(batch_size, self.memory.N) for _ in self.heads]
        self.previous_state = self.init_r.clone().expand(batch_size, -1), (h, c), ws

    def forward(self, x=None):
        if x is None:
            x = torch.zeros(self.memory.batch_size, 5)
        prev_read, state, ws = self.previous_state
        h, c = self.controller(torch.cat([x, prev_read], dim=1), state)
        read, w_read = self.heads[0](h, ws[0])
        _, w_write = self.heads[1](h, ws[1])
        self.previous_state = read, (h, c), [w_read, w_write]
        return torch.sigmoid(self.fc(torch.cat([h, read], dim=1))), self.previous_state


def build():
    return NTM()


def data(rng):
    seq = torch.from_numpy(rng.binomial(1, 0.5, (15, 3, 2, 4))).to(torch.get_default_dtype())
    inp = torch.zeros(15, 4, 2, 5)
    inp[:, :3, :, :4] = seq
    inp[:, 3, :, 4] = 1.0
    return inp, seq.clone()


def clip_grads(net):
    parameters = list(filter(lambda p: p.grad is not None, net.parameters()))
    for p in parameters:
        p.grad.data.clamp_(-10, 10)


def train(net, data, steps):
    criterion = nn.BCELoss()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3, momentum=0.9, alpha=0.95)
    losses, costs = [], []

    def train_step(X, Y):
        optimizer.zero_grad()
        net.init_sequence(X.size(1))
        for i in range(X.size(0)):
            net(X[i])
        y_out = torch.zeros(Y.size())
        for i in range(Y.size(0)):
            y_out[i], _ = net()
        loss = criterion(y_out, Y)
        loss.backward()
        clip_grads(net)
        optimizer.step()
        return loss, y_out.detach()

    for i in range(steps):
        loss, y_out = train_step(data[0][i % 15], data[1][i % 15])
        y_out_binarized = y_out.clone().data
        cost = torch.sum(torch.abs((y_out_binarized > 0.5).float() - data[1][i % 15]))
        losses.append(loss.item())
        costs.append(cost.item() / 2)
    print("Mean cost: %.2f bits per sequence" % (sum(costs) / len(costs)))
    print("parameters:", sum(p.data.view(-1).size(0) for p in net.parameters()))
    return losses


def evaluate(net, data):
    net.init_sequence(2)
    with torch.no_grad():
        outs = [net(x)[0] for x in data[0][0]]
        attention = [net()[1][2][0] for _ in range(3)]
    return [torch.stack(outs), torch.stack(attention), net.memory.memory]
