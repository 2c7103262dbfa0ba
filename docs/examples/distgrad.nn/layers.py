"""Examples of distgrad.nn: containers and layers with weights, recurrence, attention."""

import distgrad as dg
from distgrad import nn

lines = dg.randn(2, 4, 6)  # n c l
images = dg.randn(2, 4, 6, 6)  # n c h w
volumes = dg.randn(2, 4, 3, 3, 3)  # n c d h w
words = dg.randn(5, 2, 8)  # t b e

# Examples

nn.Bilinear(3, 4, 5)(dg.ones(2, 3), dg.ones(2, 4)).shape

# Buffer: travels with the state, is not trained
model = nn.Identity()
model.steps = nn.Buffer(dg.zeros(1))
model.state_dict()

nn.Conv1d(4, 8, kernel_size=3, padding=1)(lines).shape

nn.Conv2d(4, 8, kernel_size=3, stride=2)(images).shape

nn.Conv3d(4, 8, kernel_size=2)(volumes).shape

nn.ConvTranspose1d(4, 8, kernel_size=2, stride=2)(lines).shape

nn.ConvTranspose2d(4, 8, kernel_size=2, stride=2)(images).shape

nn.ConvTranspose3d(4, 8, kernel_size=2)(volumes).shape

# Container: PyTorch's old name of Module
issubclass(nn.Container, nn.Module)

# DataParallel: refuses, and says what to write
try:
    nn.DataParallel(nn.Linear(3, 2))
except dg.DistgradError as error:
    print(error)

nn.Embedding(10, 3)(dg.tensor([[1, 2], [4, 9]])).shape

nn.EmbeddingBag(10, 3, mode="sum")(dg.tensor([[1, 2], [4, 9]])).shape

nn.GRU(8, 16)(words)[0].shape

nn.GRUCell(8, 16)(words[0]).shape

nn.Identity()(dg.tensor([1, 2]))

# LSTM
outputs, (hidden, cell) = nn.LSTM(8, 16, num_layers=2)(words)
outputs.shape, hidden.shape, cell.shape

# LSTMCell
hidden, cell = nn.LSTMCell(8, 16)(words[0])
hidden.shape

# LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d: features are counted at the first batch
(
    nn.LazyBatchNorm1d()(lines).shape,
    nn.LazyBatchNorm2d()(images).shape,
    nn.LazyBatchNorm3d()(volumes).shape,
)

# LazyConv1d, LazyConv2d, LazyConv3d
(
    nn.LazyConv1d(8, 3)(lines).shape,
    nn.LazyConv2d(8, 3)(images).shape,
    nn.LazyConv3d(8, 3)(volumes).shape,
)

# LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d
layers = nn.LazyConvTranspose1d(8, 3), nn.LazyConvTranspose2d(8, 3), nn.LazyConvTranspose3d(8, 3)
[layer(x).shape for layer, x in zip(layers, (lines, images, volumes), strict=True)]

# LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d
layers = nn.LazyInstanceNorm1d(), nn.LazyInstanceNorm2d(), nn.LazyInstanceNorm3d()
[layer(x).shape for layer, x in zip(layers, (lines, images, volumes), strict=True)]

# LazyLinear
layer = nn.LazyLinear(3)
layer(dg.ones(2, 7)).shape, layer.in_features

nn.Linear(3, 2)(dg.ones(4, 3)).shape


# Module: a model is a class with layers and a forward
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.outer = nn.Linear(8, 2)

    def forward(self, x):
        return self.outer(self.inner(x).relu())


model = Net()
model(dg.ones(3, 4)).shape, [name for name, p in model.named_parameters()]

nn.ModuleDict({"small": nn.Linear(2, 2), "large": nn.Linear(2, 9)})["large"]

nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])[1]

# MultiheadAttention
attention = nn.MultiheadAttention(embed_dim=8, num_heads=2)
out, weights = attention(words, words, words)
out.shape, weights.shape

# Parameter: a Tensor that a Module lists
layer = nn.Linear(2, 2)
layer.scale = nn.Parameter(dg.ones(2))
[name for name, p in layer.named_parameters()]

nn.ParameterDict({"a": nn.Parameter(dg.zeros(2))})["a"]

nn.ParameterList([nn.Parameter(dg.zeros(2)), nn.Parameter(dg.ones(3))])[1]

nn.RNN(8, 16, nonlinearity="relu")(words)[0].shape

# RNNBase: what RNN, LSTM and GRU share
isinstance(nn.LSTM(8, 16), nn.RNNBase)

nn.RNNCell(8, 16)(words[0]).shape

# RNNCellBase: what the cells share
isinstance(nn.GRUCell(8, 16), nn.RNNCellBase)

# Sequential
model = nn.Sequential(nn.Flatten(), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 10))
model(images).shape

nn.Transformer(d_model=8, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=16)(
    words, words
).shape

# TransformerDecoder, TransformerDecoderLayer
layer = nn.TransformerDecoderLayer(d_model=8, nhead=2, dim_feedforward=16)
nn.TransformerDecoder(layer, num_layers=2)(words, words).shape

# TransformerEncoder, TransformerEncoderLayer
layer = nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16)
nn.TransformerEncoder(layer, num_layers=2)(words).shape

# UninitializedBuffer, UninitializedParameter: what lazy layers have before their first batch
layer = nn.LazyBatchNorm1d()
(
    isinstance(layer.weight, nn.UninitializedParameter),
    isinstance(layer.running_mean, nn.UninitializedBuffer),
)

# state_sha256: two models with the same bits have the same hash
model = nn.Linear(2, 2)
twin = nn.Linear(2, 2)
twin.load_state_dict(model.state_dict())
same = nn.state_sha256(model.state_arrays()) == nn.state_sha256(twin.state_arrays())
same, nn.state_sha256(model.state_arrays())[:12]

# summary, Summary
table = nn.summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), dg.zeros(1, 4))
isinstance(table, nn.Summary)
print(table)
