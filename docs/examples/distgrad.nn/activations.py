"""Examples of distgrad.nn: activations, dropout, norms, losses."""

import distgrad as dg
from distgrad import nn

x = dg.tensor([[-1.0, 0.5, 2.0]])
images = dg.randn(2, 4, 3, 3)  # n c h w
volumes = dg.randn(2, 4, 2, 2, 2)  # n c d h w
lines = dg.randn(2, 4, 5)  # n c l
logits = dg.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
labels = dg.tensor([0, 2])
prediction = dg.tensor([0.5, 1.5, 3.0])
target = dg.tensor([1.0, 1.0, 1.0])
signs = dg.tensor([1.0, -1.0, 1.0])
anchor, near, far = dg.zeros(1, 2), dg.ones(1, 2), dg.full((1, 2), 1.2)

# Examples

nn.CELU(alpha=0.5)(x)

nn.ELU()(x)

nn.GELU(approximate="tanh")(x)

nn.GLU()(dg.tensor([1.0, 2.0, 0.0, 9.0]))

nn.Hardshrink()(x)

nn.Hardsigmoid()(x)

nn.Hardswish()(x)

nn.Hardtanh()(x)

nn.LeakyReLU(0.1)(x)

nn.LogSigmoid()(x)

nn.LogSoftmax(dim=1)(x)

nn.Mish()(x)

nn.PReLU()(x)

nn.ReLU()(x)

nn.ReLU6()(4 * x)

nn.RReLU()(x)

nn.SELU()(x)

nn.SiLU()(x)

nn.Sigmoid()(x)

nn.Softmax(dim=1)(x)

nn.Softmax2d()(images).sum(1)[0]

nn.Softmin(dim=1)(x)

nn.Softplus(beta=2.0)(x)

nn.Softshrink()(x)

nn.Softsign()(x)

nn.Tanh()(x)

nn.Tanhshrink()(x)

nn.Threshold(0.0, -7.0)(x)

nn.AlphaDropout(0.5)(x)

nn.Dropout(0.5)(dg.ones(6))

nn.Dropout1d(0.5)(dg.ones(1, 4, 2))

nn.Dropout2d(0.5)(dg.ones(1, 4, 1, 2))

nn.Dropout3d(0.5)(dg.ones(1, 4, 1, 1, 2))

nn.FeatureAlphaDropout(0.5)(dg.ones(1, 4, 2))

# BatchNorm1d: of 100 samples with mean 5
y = nn.BatchNorm1d(4)(5 + dg.randn(100, 4))
y.mean(dim=0), y.std(dim=0)

nn.BatchNorm2d(4)(images).shape

nn.BatchNorm3d(4)(volumes).shape

nn.CrossMapLRN2d(size=3)(images).shape

nn.GroupNorm(2, 4)(images).shape

nn.InstanceNorm1d(4)(lines).shape

nn.InstanceNorm2d(4)(images).shape

nn.InstanceNorm3d(4)(volumes).shape

nn.LayerNorm(3)(x)

nn.LocalResponseNorm(2)(images).shape

nn.RMSNorm(3)(x)

# SyncBatchNorm: statistics over the batches of all ranks
from distgrad.comm import run_ranks


def mean_of_my_part():
    rank = dg.init().rank
    return nn.SyncBatchNorm(1)(dg.full((2, 1), float(rank))).mean().item()


run_ranks(3, mean_of_my_part)

# AdaptiveLogSoftmaxWithLoss: frequent classes first, the rest in clusters
head = nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
out, loss = head(dg.randn(3, 8), dg.tensor([0, 7, 19]))
out.shape, head.predict(dg.randn(3, 8)).shape

nn.BCELoss()(dg.tensor([0.9, 0.2]), dg.tensor([1.0, 0.0]))

nn.BCEWithLogitsLoss()(dg.tensor([2.0, -1.0]), dg.tensor([1.0, 0.0]))

nn.CTCLoss()(dg.zeros(4, 1, 3).log_softmax(-1), dg.tensor([[1, 2]]), dg.tensor([4]), dg.tensor([2]))

nn.CosineEmbeddingLoss()(logits, logits + 1, dg.tensor([1.0, -1.0]))

nn.CosineSimilarity()(logits, logits + 1)

nn.CrossEntropyLoss(weight=dg.tensor([1.0, 1.0, 5.0]))(logits, labels)

nn.GaussianNLLLoss()(prediction, target, dg.ones(3))

nn.HingeEmbeddingLoss()(prediction, signs)

nn.HuberLoss()(prediction, target)

nn.KLDivLoss(reduction="batchmean")(logits.log_softmax(1), dg.full((2, 3), 1 / 3))

nn.L1Loss()(prediction, target)

nn.LinearCrossEntropyLoss(3, 3)(logits, labels)

nn.LinearCrossEntropyOptions()

nn.MSELoss(reduction="sum")(prediction, target)

nn.MarginRankingLoss()(prediction, target, signs)

nn.MultiLabelMarginLoss()(logits, dg.tensor([[0, -1, -1], [2, 1, -1]]))

nn.MultiLabelSoftMarginLoss()(logits, dg.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))

nn.MultiMarginLoss()(logits, labels)

nn.NLLLoss()(logits.log_softmax(1), labels)

nn.NLLLoss2d()(dg.zeros(1, 3, 2, 2).log_softmax(1), dg.zeros(1, 2, 2, dtype=dg.int64))

nn.PairwiseDistance()(logits, logits + 1)

nn.PoissonNLLLoss()(prediction, target)

nn.SmoothL1Loss()(prediction, target)

nn.SoftMarginLoss()(prediction, signs)

nn.TripletMarginLoss()(anchor, near, far)

nn.TripletMarginWithDistanceLoss(margin=0.5)(anchor, near, far)
