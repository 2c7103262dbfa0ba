"""Classifying names with a recurrent network written by hand, one line at a time."""

import torch
import torch.nn as nn

ALL_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def line_to_tensor(line):
    tensor = torch.zeros(len(line), 1, len(ALL_LETTERS))
    for li, letter in enumerate(line):
        tensor[li][0][ALL_LETTERS.find(letter)] = 1
    return tensor


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        hidden = torch.tanh(self.i2h(combined))
        output = self.softmax(self.i2o(combined))
        return output, hidden

    def init_hidden(self):
        return torch.zeros(1, self.hidden_size)


def build():
    return RNN(len(ALL_LETTERS), 12, 3)


def run(rng, rnn):
    names = [["anna", "berta", "clara"], ["otto", "bruno", "carlo"], ["kim", "sam", "alex"]]
    criterion = nn.NLLLoss()
    history = []
    for step in range(30):
        category = step % 3
        category_tensor = torch.tensor([category], dtype=torch.long)
        line_tensor = line_to_tensor(names[category][step // 3 % 3])
        hidden = rnn.init_hidden()
        rnn.zero_grad()
        for i in range(line_tensor.size()[0]):
            output, hidden = rnn(line_tensor[i], hidden)
        loss = criterion(output, category_tensor)
        loss.backward()
        for p in rnn.parameters():
            p.data.add_(p.grad.data, alpha=-0.05)
        top_n, top_i = output.topk(1)
        history += [loss.item(), top_n, top_i[0].item()]
    topv, topi = output.topk(2, 1, True)
    guesses = [(topv[0][i].item(), topi[0][i].item()) for i in range(2)]
    return [history, guesses]
