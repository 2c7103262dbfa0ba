"""Boxes: IoU, non-maximum suppression, anchors, offsets, smooth L1 and focal losses by hand."""

import torch
import torch.nn.functional as F


def box_iou(boxes1, boxes2):
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[:, :, 0] * wh[:, :, 1]
    return inter / (area1[:, None] + area2 - inter)


def nms(boxes, scores, threshold):
    order = scores.argsort(descending=True)
    keep = []
    while order.numel() > 0:
        i = order[0].item()
        keep.append(i)
        if order.numel() == 1:
            break
        iou = box_iou(boxes[i : i + 1], boxes[order[1:]])[0]
        order = order[1:][iou <= threshold]
    return torch.tensor(keep, dtype=torch.int64)


def xywh2xyxy(x):
    y = x.clone()
    y[..., 0] = x[..., 0] - x[..., 2] / 2
    y[..., 1] = x[..., 1] - x[..., 3] / 2
    y[..., 2] = x[..., 0] + x[..., 2] / 2
    y[..., 3] = x[..., 1] + x[..., 3] / 2
    return y


def encode(matched, anchors, variances=(0.1, 0.2)):
    g_cxcy = (matched[:, :2] + matched[:, 2:]) / 2 - anchors[:, :2]
    g_cxcy = g_cxcy / (variances[0] * anchors[:, 2:])
    g_wh = (matched[:, 2:] - matched[:, :2]) / anchors[:, 2:]
    g_wh = torch.log(g_wh) / variances[1]
    return torch.cat([g_cxcy, g_wh], 1)


def run(rng):
    ys, xs = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    centres = torch.stack((xs.flatten(), ys.flatten()), dim=1) + 0.5
    sizes = torch.tensor([[1.0, 1.5], [2.0, 1.0]])
    tiled = torch.tile(sizes, (centres.size(0), 1))
    anchors = torch.cat([centres.repeat_interleave(2, 0), tiled], dim=1)
    truth = xywh2xyxy(torch.tensor(rng.uniform(1, 4, (3, 4))))
    iou = box_iou(truth, xywh2xyxy(anchors))
    best_truth_overlap, best_truth_idx = iou.max(0, keepdim=True)
    _, best_prior_idx = iou.max(1, keepdim=True)
    best_truth_idx.squeeze_(0)
    best_truth_overlap.squeeze_(0)
    best_prior_idx.squeeze_(1)
    best_truth_overlap.index_fill_(0, best_prior_idx, 2)
    for j in range(best_prior_idx.size(0)):
        best_truth_idx[best_prior_idx[j]] = j
    positive = best_truth_overlap > 0.3
    matches = truth[best_truth_idx]
    targets = encode(matches, anchors)
    raw = torch.tensor(rng.standard_normal((40, 5)), requires_grad=True)
    pos_idx = positive.unsqueeze(1).expand_as(targets)
    loss_loc = F.smooth_l1_loss(
        raw[:, :4][pos_idx].view(-1, 4), targets[pos_idx].view(-1, 4), reduction="sum"
    )
    labels = positive.to(raw.dtype)
    p = torch.sigmoid(raw[:, 4])
    ce = F.binary_cross_entropy_with_logits(raw[:, 4], labels, reduction="none")
    p_t = p * labels + (1 - p) * (1 - labels)
    focal = ce * ((1 - p_t) ** 2)
    focal = (0.25 * labels + 0.75 * (1 - labels)) * focal
    hard = ce.masked_fill(positive, 0).topk(5)[0].sum()
    loss = (loss_loc + focal.sum() + hard) / max(1, int(positive.sum()))
    loss.backward()
    boxes = xywh2xyxy(anchors) + 0.2 * raw.detach()[:, :4]
    keep = nms(boxes, p.detach(), 0.4)
    return [iou, positive, targets, loss, raw.grad, keep, boxes[keep].clamp(0, 4)]
