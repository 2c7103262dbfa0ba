"""A one-stage detector, as small YOLOs are written: anchors, grids, box losses by IoU, NMS."""

import math

import torch
import torch.nn as nn


def autopad(k, p=None):
    return (k // 2 if isinstance(k, int) else [x // 2 for x in k]) if p is None else p


class Conv(nn.Module):
    default_act = nn.SiLU()

    def __init__(self, c1, c2, k=1, s=1, p=None, g=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, autopad(k, p), groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = (
            self.default_act
            if act is True
            else act
            if isinstance(act, nn.Module)
            else nn.Identity()
        )

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))

    def forward_fuse(self, x):
        return self.act(self.conv(x))


class SPPF(nn.Module):
    def __init__(self, c1, c2, k=3):
        super().__init__()
        self.cv1 = Conv(c1, c1 // 2, 1, 1)
        self.cv2 = Conv(c1 // 2 * 4, c2, 1, 1)
        self.m = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)

    def forward(self, x):
        x = self.cv1(x)
        y1 = self.m(x)
        y2 = self.m(y1)
        return self.cv2(torch.cat((x, y1, y2, self.m(y2)), 1))


class Detect(nn.Module):
    def __init__(self, nc=2, anchors=((4, 4, 6, 3), (8, 8, 12, 6)), ch=(8, 8)):
        super().__init__()
        self.nc, self.no, self.nl = nc, nc + 5, len(anchors)
        self.na = len(anchors[0]) // 2
        self.grid = [torch.empty(0) for _ in range(self.nl)]
        self.register_buffer("anchors", torch.tensor(anchors).float().view(self.nl, -1, 2))
        self.m = nn.ModuleList(nn.Conv2d(x, self.no * self.na, 1) for x in ch)
        self.stride = [2, 4]
        for mi, s in zip(self.m, self.stride):
            b = mi.bias.view(self.na, -1)
            b.data[:, 4] += math.log(8 / (32 / s) ** 2)
            b.data[:, 5 : 5 + nc] += math.log(0.6 / (nc - 0.99999))
            mi.bias = torch.nn.Parameter(b.view(-1), requires_grad=True)

    def forward(self, x):
        z = []
        x = list(x)
        for i in range(self.nl):
            x[i] = self.m[i](x[i])
            bs, _, ny, nx = x[i].shape
            x[i] = x[i].view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            if not self.training:
                if self.grid[i].shape[2:4] != x[i].shape[2:4]:
                    self.grid[i] = self._make_grid(nx, ny, i)
                xy, wh, conf = x[i].sigmoid().split((2, 2, self.nc + 1), 4)
                xy = (xy * 2 + self.grid[i]) * self.stride[i]
                wh = (wh * 2) ** 2 * self.anchors[i].view(1, self.na, 1, 1, 2)
                z.append(torch.cat((xy, wh, conf), 4).view(bs, self.na * nx * ny, self.no))
        return x if self.training else (torch.cat(z, 1), x)

    def _make_grid(self, nx, ny, i):
        d, t = self.anchors[i].device, self.anchors[i].dtype
        y, x = torch.arange(ny, device=d, dtype=t), torch.arange(nx, device=d, dtype=t)
        yv, xv = torch.meshgrid(y, x, indexing="ij")
        return torch.stack((xv, yv), 2).expand(1, self.na, ny, nx, 2) - 0.5


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Conv(3, 8, 3, 2)
        self.down = nn.Sequential(Conv(8, 8, 3, 2), SPPF(8, 8))
        self.up = nn.Upsample(None, 2, "nearest")
        self.fuse = Conv(16, 8, 1)
        self.detect = Detect()

    def forward(self, x):
        p1 = self.stem(x)
        p2 = self.down(p1)
        return self.detect([self.fuse(torch.cat([self.up(p2), p1], 1)), p2])


def bbox_iou(box1, box2, eps=1e-7):
    (x1, y1, w1, h1), (x2, y2, w2, h2) = box1.chunk(4, -1), box2.chunk(4, -1)
    b1_x1, b1_x2, b1_y1, b1_y2 = x1 - w1 / 2, x1 + w1 / 2, y1 - h1 / 2, y1 + h1 / 2
    b2_x1, b2_x2, b2_y1, b2_y2 = x2 - w2 / 2, x2 + w2 / 2, y2 - h2 / 2, y2 + h2 / 2
    inter = (b1_x2.minimum(b2_x2) - b1_x1.maximum(b2_x1)).clamp(0) * (
        b1_y2.minimum(b2_y2) - b1_y1.maximum(b2_y1)
    ).clamp(0)
    union = w1 * h1 + w2 * h2 - inter + eps
    iou = inter / union
    cw = b1_x2.maximum(b2_x2) - b1_x1.minimum(b2_x1)
    ch = b1_y2.maximum(b2_y2) - b1_y1.minimum(b2_y1)
    c2 = cw.pow(2) + ch.pow(2) + eps
    rho2 = ((b2_x1 + b2_x2 - b1_x1 - b1_x2) ** 2 + (b2_y1 + b2_y2 - b1_y1 - b1_y2) ** 2) / 4
    v = (4 / math.pi**2) * (torch.atan(w2 / (h2 + eps)) - torch.atan(w1 / (h1 + eps))).pow(2)
    with torch.no_grad():
        alpha = v / (v - iou + (1 + eps))
    return iou - (rho2 / c2 + v * alpha)


class ComputeLoss:
    def __init__(self, model):
        self.cls_criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0]))
        self.obj_criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0]))
        self.det = model.detect

    def __call__(self, p, targets):
        lcls, lbox, lobj = torch.zeros(1), torch.zeros(1), torch.zeros(1)
        tcls, tbox, indices, anchors = self.build_targets(p, targets)
        for i, pi in enumerate(p):
            b, a, gj, gi = indices[i]
            tobj = torch.zeros(pi.shape[:4], dtype=pi.dtype)
            if n := b.shape[0]:
                pxy, pwh, _, pcls = pi[b, a, gj, gi].split((2, 2, 1, self.det.nc), 1)
                pxy = pxy.sigmoid() * 2 - 0.5
                pwh = (pwh.sigmoid() * 2) ** 2 * anchors[i]
                iou = bbox_iou(torch.cat((pxy, pwh), 1), tbox[i]).squeeze(-1)
                lbox += (1.0 - iou).mean()
                tobj[b, a, gj, gi] = iou.detach().clamp(0).type(tobj.dtype)
                t = torch.full_like(pcls, 0.05)
                t[range(n), tcls[i]] = 0.95
                lcls += self.cls_criterion(pcls, t)
            lobj += self.obj_criterion(pi[..., 4], tobj) * [4.0, 1.0][i]
        return (lbox * 0.05 + lobj + lcls * 0.5) * p[0].shape[0], torch.cat(
            (lbox, lobj, lcls)
        ).detach()

    def build_targets(self, p, targets):
        na, nt = self.det.na, targets.shape[0]
        tcls, tbox, indices, anch = [], [], [], []
        gain = torch.ones(7, dtype=targets.dtype)
        ai = torch.arange(na).to(targets).view(na, 1).repeat([1, nt])
        targets = torch.cat((targets.repeat(na, 1, 1), ai[..., None]), 2)
        off = torch.tensor([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]).to(targets) * 0.5
        for i in range(self.det.nl):
            anchors, shape = self.det.anchors[i] / self.det.stride[i], p[i].shape
            gain[2:6] = torch.tensor(shape)[[3, 2, 3, 2]]
            t = targets * gain
            r = t[..., 4:6] / anchors[:, None]
            j = torch.max(r, 1 / r).max(dim=2)[0] < 4.0
            t = t[j]
            gxy = t[:, 2:4]
            gxi = gain[[2, 3]] - gxy
            j, k = ((gxy % 1 < 0.5) & (gxy > 1)).T
            l, m = ((gxi % 1 < 0.5) & (gxi > 1)).T  # noqa: E741
            j = torch.stack((torch.ones_like(j), j, k, l, m))
            t = t.repeat((5, 1, 1))[j]
            offsets = (torch.zeros_like(gxy)[None] + off[:, None])[j]
            bc, gxy, gwh, a = t.chunk(4, 1)
            a, (b, c) = a.long().view(-1), bc.long().T
            gij = (gxy - offsets).long()
            gi, gj = gij.T
            indices.append((b, a, gj.clamp_(0, shape[2] - 1), gi.clamp_(0, shape[3] - 1)))
            tbox.append(torch.cat((gxy - gij, gwh), 1))
            anch.append(anchors[a])
            tcls.append(c)
        return tcls, tbox, indices, anch


def nms(boxes, scores, iou_thres):
    order, keep = scores.argsort(descending=True, stable=True), []
    while order.numel() > 0:
        i = order[0]
        keep.append(i.item())
        lt = torch.max(boxes[i, :2], boxes[order[1:], :2])
        rb = torch.min(boxes[i, 2:], boxes[order[1:], 2:])
        inter = (rb - lt).clamp(min=0).prod(dim=1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        iou = inter / (area[i] + area[order[1:]] - inter)
        order = order[1:][iou <= iou_thres]
    return torch.as_tensor(keep)


def build():
    return Model()


def data(rng):
    images = torch.tensor(rng.random((3, 4, 3, 16, 16)))
    centres, sizes = rng.uniform(0.25, 0.75, (3, 6, 2)), rng.uniform(0.2, 0.5, (3, 6, 2))
    which = [rng.integers(0, 4, (3, 6, 1)), rng.integers(0, 2, (3, 6, 1))]
    return images, torch.cat([torch.tensor(part).double() for part in (*which, centres, sizes)], -1)


def train(model, data, steps):
    images, targets = data
    g = [], [], []
    bn = tuple(v for k, v in nn.__dict__.items() if "Norm" in k)
    for v in model.modules():
        for p_name, p in v.named_parameters(recurse=False):
            g[2 if p_name == "bias" else 1 if isinstance(v, bn) else 0].append(p)
    optimizer = torch.optim.SGD(g[2], lr=0.01, momentum=0.9, nesterov=True)
    optimizer.add_param_group({"params": g[0], "weight_decay": 5e-4})
    optimizer.add_param_group({"params": g[1], "weight_decay": 0.0})
    compute_loss = ComputeLoss(model)
    losses, mloss = [], torch.zeros(3)

    def train_step(imgs, targets):
        pred = model(imgs)
        loss, loss_items = compute_loss(pred, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss, loss_items

    for i in range(steps):
        loss, loss_items = train_step(images[i % 3].to(torch.get_default_dtype()), targets[i % 3])
        mloss = (mloss * i + loss_items) / (i + 1)
        losses.append(loss.item())
    print(("%11.4g" * 3) % tuple(mloss), [len(x) for x in g])
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        prediction, _ = model(data[0][0])
        x = prediction[0]
        x[:, 5:] *= x[:, 4:5]
        conf, j = x[:, 5:].max(1, keepdim=True)
        half = x[:, 2:4] / 2
        boxes = torch.cat([x[:, :2] - half, x[:, :2] + half], dim=1)
        keep = nms(boxes, conf.view(-1), 0.3)
        out = torch.cat((boxes, conf, j.to(x.dtype)), 1)[keep]
    return [prediction.shape, out[:5], keep]
