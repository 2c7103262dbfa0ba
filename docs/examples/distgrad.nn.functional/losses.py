"""Examples of distgrad.nn.functional: losses."""

import distgrad as dg
from distgrad.nn import functional as F

logits = dg.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
labels = dg.tensor([0, 2])
prediction = dg.tensor([0.5, 1.5, 3.0])
target = dg.tensor([1.0, 1.0, 1.0])
signs = dg.tensor([1.0, -1.0, 1.0])
anchor, near, far = dg.zeros(1, 2), dg.ones(1, 2), dg.full((1, 2), 1.2)

# Examples

F.binary_cross_entropy(dg.tensor([0.9, 0.2]), dg.tensor([1.0, 0.0]))

F.binary_cross_entropy_with_logits(dg.tensor([2.0, -1.0]), dg.tensor([1.0, 0.0]))

F.cosine_embedding_loss(logits, logits + 1, dg.tensor([1.0, -1.0]))

F.cross_entropy(logits, labels, label_smoothing=0.1)

# ctc_loss
log_probabilities = dg.zeros(4, 1, 3).log_softmax(-1)  # t n c
F.ctc_loss(log_probabilities, dg.tensor([[1, 2]]), dg.tensor([4]), dg.tensor([2]))

F.gaussian_nll_loss(prediction, target, dg.ones(3))

F.hinge_embedding_loss(prediction, signs)

F.huber_loss(prediction, target)

F.kl_div(logits.log_softmax(1), dg.full((2, 3), 1 / 3), reduction="batchmean")

F.l1_loss(prediction, target)

F.linear_cross_entropy(logits, dg.eye(3), labels)

F.margin_ranking_loss(prediction, target, signs)

F.mse_loss(prediction, target, reduction="none")

F.multi_margin_loss(logits, labels)

F.multilabel_margin_loss(logits, dg.tensor([[0, -1, -1], [2, 1, -1]]))

F.multilabel_soft_margin_loss(logits, dg.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))

F.nll_loss(logits.log_softmax(1), labels)

F.poisson_nll_loss(prediction, target)

F.smooth_l1_loss(prediction, target)

F.soft_margin_loss(prediction, signs)

F.triplet_margin_loss(anchor, near, far)

F.triplet_margin_with_distance_loss(anchor, near, far, margin=0.5)
