"""Accuracy, top-k, confusion matrix, precision and recall, AUC, IoU, perplexity by hand."""

import torch


def run(rng):
    logits = torch.from_numpy(rng.standard_normal((40, 4)))
    labels = torch.from_numpy(rng.integers(0, 4, 40))
    _, predicted = torch.max(logits, 1)
    total = labels.size(0)
    correct = (predicted == labels).sum().item()
    confusion = torch.zeros(4, 4, dtype=torch.int64)
    for t, p in zip(labels.view(-1), predicted.view(-1), strict=True):
        confusion[t.long(), p.long()] += 1
    counts = torch.bincount(labels * 4 + predicted, minlength=16).reshape(4, 4)
    same = torch.equal(confusion, counts)
    per_class = confusion.diag().float() / confusion.sum(1).clamp(min=1)
    tp = torch.diagonal(confusion)
    precision = tp / confusion.sum(dim=0)
    recall = tp / confusion.sum(dim=1)
    f1 = 2 * precision * recall / (precision + recall)
    top2 = logits.topk(2, dim=1).indices
    top2_correct = (top2 == labels.unsqueeze(1)).any(dim=1).float().mean()
    scores, order = torch.sort(torch.sigmoid(logits[:, 0]), descending=True)
    positives = (labels[order] == 0).double()
    tpr = torch.cumsum(positives, dim=0) / positives.sum()
    fpr = torch.cumsum(1 - positives, dim=0) / (1 - positives).sum()
    auc = torch.trapezoid(tpr, fpr)
    pred_mask, mask = logits > 0, logits > -0.3
    iou = (pred_mask & mask).sum().float() / (pred_mask | mask).sum()
    correct_by_class = {c: 0 for c in range(4)}
    for label, prediction in zip(labels, predicted, strict=True):
        if label == prediction:
            correct_by_class[label.item()] += 1
    unique, number = torch.unique(labels, return_counts=True)
    picked = logits.gather(1, labels.view(-1, 1)).squeeze(1)
    return {
        "accuracy": f"{100 * correct // total} %",
        "confusion": [confusion, same, per_class, precision, recall, f1],
        "more": [top2_correct, auc, iou, correct_by_class, unique, number, picked],
        "sorted": [scores, order, logits.argsort(dim=1)],
        "quantile": [logits.median(), torch.quantile(logits, 0.9), logits.std(), logits.var(dim=0)],
        "not": [(~pred_mask).sum(), pred_mask.logical_not().any(), torch.isnan(logits).any()],
    }
