"""Algorithms of papers: relative shifts, sparsemax, a CRF, splines, spikes, boxes, capsules."""

import torch
import torch.nn.functional as F


def drawn(rng, *s):
    return torch.tensor(rng.standard_normal(s))


def rel_shift(x):
    b, h, q, k = x.shape
    zero_pad = torch.zeros((b, h, q, 1), device=x.device, dtype=x.dtype)
    x_padded = torch.cat([zero_pad, x], dim=-1).view(b, h, k + 1, q)
    return x_padded[:, :, 1:].view_as(x)


def sparsemax(z, dim=-1):
    z = z - z.max(dim=dim, keepdim=True)[0]
    zs = torch.sort(z, descending=True, dim=dim)[0]
    rng_ = torch.arange(1, z.size(dim) + 1, device=z.device, dtype=z.dtype).view(1, -1)
    bound = 1 + rng_ * zs
    cum = torch.cumsum(zs, dim)
    is_gt = torch.gt(bound, cum).type(z.type())
    k = torch.max(is_gt * rng_, dim, keepdim=True)[0]
    taus = (torch.sum(is_gt * zs, dim, keepdim=True) - 1) / k
    return torch.max(torch.zeros_like(z), z - taus)


def modulated_conv(x, weight, style, demodulate=True):
    b, _c, _h, _w = x.shape
    w_ = weight.unsqueeze(0) * style.reshape(b, 1, -1, 1, 1)
    if demodulate:
        d = (w_.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
        w_ = w_ * d.reshape(b, -1, 1, 1, 1)
    x = x.reshape(1, -1, *x.shape[2:])
    w_ = w_.reshape(-1, *w_.shape[2:])
    x = F.conv2d(x, w_, padding=1, groups=b)
    return x.reshape(b, -1, *x.shape[2:])


def glow(x, W):
    _b, c, h, w = x.shape
    dlogdet = torch.slogdet(W)[1] * h * w
    z = F.conv2d(x, W.view(c, c, 1, 1))
    logs = torch.log(torch.sum(z.pow(2), dim=(1, 2, 3)))
    return z, dlogdet + logs


def sinkhorn(C, eps=0.1, n=20):
    mu = torch.empty(C.shape[0], dtype=C.dtype).fill_(1.0 / C.shape[0])
    nu = torch.empty(C.shape[1], dtype=C.dtype).fill_(1.0 / C.shape[1])
    u, v = torch.zeros_like(mu), torch.zeros_like(nu)

    def kernel(u, v):
        return (-C + u.unsqueeze(-1) + v.unsqueeze(-2)) / eps

    for i in range(n):
        u1 = u
        u = eps * (torch.log(mu + 1e-8) - torch.logsumexp(kernel(u, v), dim=-1)) + u
        v = (
            eps * (torch.log(nu + 1e-8) - torch.logsumexp(kernel(u, v).transpose(-2, -1), dim=-1))
            + v
        )
        err = (u - u1).abs().sum(-1).mean()
        if err.item() < 1e-6:
            break
    pi = torch.exp(kernel(u, v))
    return torch.sum(pi * C, dim=(-2, -1)), pi


def crf(emissions, tags, mask, trans, start, end):
    T_, B, _K = emissions.shape
    score = start[tags[0]] + emissions[0, torch.arange(B), tags[0]]
    for i in range(1, T_):
        score = score + trans[tags[i - 1], tags[i]] * mask[i]
        score = score + emissions[i, torch.arange(B), tags[i]] * mask[i]
    seq_ends = mask.long().sum(dim=0) - 1
    last_tags = tags[seq_ends, torch.arange(B)]
    score = score + end[last_tags]
    alpha = start + emissions[0]
    for i in range(1, T_):
        nxt = torch.logsumexp(alpha.unsqueeze(2) + trans + emissions[i].unsqueeze(1), dim=1)
        alpha = torch.where(mask[i].unsqueeze(1).bool(), nxt, alpha)
    Z = torch.logsumexp(alpha + end, dim=1)
    # viterbi
    s = start + emissions[0]
    hist = []
    for i in range(1, T_):
        n = s.unsqueeze(2) + trans + emissions[i].unsqueeze(1)
        n, ind = n.max(dim=1)
        s = torch.where(mask[i].unsqueeze(1).bool(), n, s)
        hist.append(ind)
    best = []
    for b in range(B):
        _, last = (s[b] + end).max(dim=0)
        tags_ = [last.item()]
        for h in reversed(hist[: seq_ends[b]]):
            last = h[b][tags_[-1]]
            tags_.append(last.item())
        tags_.reverse()
        best.append(tags_)
    return (Z - score).mean(), best


def mdn(pi, mu, sigma, y):
    m = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=pi),
        torch.distributions.Independent(torch.distributions.Normal(mu, F.softplus(sigma)), 1),
    )
    return -m.log_prob(y).mean()


def rqs(x, w, h, d, lo=-3.0, hi=3.0, mw=1e-3):
    K = w.shape[-1]
    w = F.softmax(w, dim=-1)
    w = mw + (1 - mw * K) * w
    cw = F.pad(torch.cumsum(w, dim=-1), pad=(1, 0), mode="constant", value=0.0)
    cw = (hi - lo) * cw + lo
    cw[..., 0] = lo
    cw[..., -1] = hi
    w = cw[..., 1:] - cw[..., :-1]
    d = mw + F.softplus(d)
    h = mw + (1 - mw * K) * F.softmax(h, dim=-1)
    ch = (hi - lo) * F.pad(torch.cumsum(h, dim=-1), (1, 0)) + lo
    h = ch[..., 1:] - ch[..., :-1]
    b = (torch.sum(x[..., None] >= cw, dim=-1) - 1).clamp(0, K - 1)[..., None]

    def g(t):
        return t.gather(-1, b)[..., 0]

    delta = h / w
    th = (x - g(cw)) / g(w)
    t1 = th * (1 - th)
    num = g(h) * (g(delta) * th.pow(2) + g(d) * t1)
    den = g(delta) + (g(d) + d[..., 1:].gather(-1, b)[..., 0] - 2 * g(delta)) * t1
    return g(ch) + num / den


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        return g / (10.0 * torch.abs(v) + 1.0) ** 2


def lif(x, w):
    mem = torch.zeros(x.shape[1], w.shape[1], dtype=x.dtype)
    spk, out = torch.zeros_like(mem), []
    for t in range(x.size(0)):
        mem = 0.9 * mem * (1 - spk) + x[t] @ w
        spk = Surrogate.apply(mem - 1.0)
        out.append(spk)
    return torch.stack(out), mem


def box_iou(a, b):
    def area(x):
        return (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])

    lt = torch.max(a[:, None, :2], b[:, :2])
    rb = torch.min(a[:, None, 2:], b[:, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[:, :, 0] * wh[:, :, 1]
    return inter / (area(a)[:, None] + area(b) - inter)


def nms(boxes, scores, thr):
    order = scores.sort(descending=True)[1]
    keep = []
    while order.numel() > 0:
        i = order[0]
        keep.append(i.item())
        if order.numel() == 1:
            break
        iou = box_iou(boxes[i : i + 1], boxes[order[1:]])[0]
        order = order[1:][iou <= thr]
    return torch.tensor(keep)


def focal_dice(logits, target, alpha=0.25, gamma=2.0):
    p = torch.sigmoid(logits)
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p_t = p * target + (1 - p) * (1 - target)
    focal = (alpha * target + (1 - alpha) * (1 - target)) * ce * (1 - p_t) ** gamma
    inter = (p * target).flatten(1).sum(-1)
    dice = 1 - (2 * inter + 1) / (p.flatten(1).sum(-1) + target.flatten(1).sum(-1) + 1)
    return focal.mean() + dice.mean()


def rssm(logits, prior):
    D = torch.distributions
    post = D.Independent(D.OneHotCategoricalStraightThrough(logits=logits), 1)
    pri = D.Independent(D.OneHotCategorical(logits=prior), 1)
    lhs = D.kl_divergence(D.Independent(D.OneHotCategorical(logits=logits.detach()), 1), pri).mean()
    rhs = D.kl_divergence(post, D.Independent(D.OneHotCategorical(logits=prior.detach()), 1)).mean()
    return torch.maximum(
        0.8 * lhs + 0.2 * rhs, torch.tensor(0.1, dtype=logits.dtype)
    ), post.entropy()


def egnn(h, x, edges, W):
    row, col = edges
    diff = x[row] - x[col]
    radial = torch.sum(diff**2, 1).unsqueeze(1)
    m = torch.tanh(torch.cat([h[row], h[col], radial], dim=1) @ W)
    trans = diff * m[:, :1]
    agg = x.new_full((x.size(0), 3), 0).scatter_add_(0, row.unsqueeze(-1).expand(-1, 3), trans)
    count = x.new_full((x.size(0), 3), 0).scatter_add_(
        0, row.unsqueeze(-1).expand(-1, 3), torch.ones_like(trans)
    )
    x = x + agg / count.clamp(min=1)
    hn = torch.zeros_like(h).index_add(0, row, m[:, 1:])
    return h + hn, x


def capsule(u, W):
    u_hat = torch.matmul(W, u[:, None, :, :, None]).squeeze(-1)
    b = torch.zeros(*u_hat.shape[:3], 1, dtype=u.dtype)
    for i in range(3):
        c = F.softmax(b, dim=1)
        s = (c * u_hat).sum(dim=2, keepdim=True)
        n2 = (s**2).sum(-1, keepdim=True)
        v = n2 / (1 + n2) * s / torch.sqrt(n2 + 1e-8)
        if i < 2:
            b = b + (u_hat * v).sum(-1, keepdim=True)
    return v.squeeze(2)


def ntm_address(mem, key, beta, gate, shift, gamma, w_prev):
    wc = F.softmax(beta * F.cosine_similarity(mem + 1e-16, key.unsqueeze(1) + 1e-16, dim=-1), dim=1)
    wg = gate * wc + (1 - gate) * w_prev
    res = torch.zeros_like(wg)
    for b in range(wg.size(0)):
        t = torch.cat([wg[b][-1:], wg[b], wg[b][:1]])
        res[b] = F.conv1d(t.view(1, 1, -1), shift[b].view(1, 1, -1)).view(-1)
    w = res**gamma
    return torch.div(w, torch.sum(w, dim=1).view(-1, 1) + 1e-16)


def run(rng):
    out = {}

    def both(name, f, *leaves):
        leaves = [x.clone().requires_grad_() if torch.is_floating_point(x) else x for x in leaves]
        r = f(*leaves)
        rs = r if isinstance(r, tuple) else (r,)
        loss = sum(
            (t * torch.linspace(0.1, 1.0, t.numel(), dtype=t.dtype).view(t.shape)).sum()
            for t in rs
            if isinstance(t, torch.Tensor) and t.requires_grad
        )
        loss.backward()
        out[name] = [t.detach() if isinstance(t, torch.Tensor) else str(t) for t in rs] + [
            x.grad for x in leaves if torch.is_floating_point(x)
        ]

    both("rel_shift", rel_shift, drawn(rng, 2, 2, 4, 4))
    both("sparsemax", sparsemax, drawn(rng, 3, 6))
    both(
        "modulated",
        modulated_conv,
        drawn(rng, 2, 3, 5, 5),
        drawn(rng, 4, 3, 3, 3),
        drawn(rng, 2, 3),
    )
    both("glow", glow, drawn(rng, 2, 3, 4, 4), drawn(rng, 3, 3))
    both("sinkhorn", sinkhorn, torch.cdist(drawn(rng, 5, 2), drawn(rng, 6, 2)))
    tags = torch.tensor(rng.integers(0, 4, (5, 3)))
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]]).double()
    both(
        "crf",
        lambda e, t, s, n: crf(e, tags, mask, t, s, n),
        drawn(rng, 5, 3, 4),
        drawn(rng, 4, 4),
        drawn(rng, 4),
        drawn(rng, 4),
    )
    both("mdn", mdn, drawn(rng, 5, 3), drawn(rng, 5, 3, 2), drawn(rng, 5, 3, 2), drawn(rng, 5, 2))
    both(
        "rqs",
        rqs,
        torch.tensor(rng.uniform(-2.9, 2.9, (4, 3))),
        drawn(rng, 4, 3, 5),
        drawn(rng, 4, 3, 5),
        drawn(rng, 4, 3, 6),
    )
    both("lif", lif, drawn(rng, 6, 2, 3), drawn(rng, 3, 4))
    lo = torch.tensor(rng.uniform(0, 5, (8, 2)))
    boxes = torch.cat([lo, lo + torch.tensor(rng.uniform(1, 4, (8, 2)))], 1)
    both("iou", box_iou, boxes, boxes.flip(0))
    out["nms"] = nms(boxes, torch.tensor(rng.random(8)), 0.3)
    both("focal", lambda x: focal_dice(x, (x.detach() > 0.3).to(x.dtype)), drawn(rng, 3, 1, 4, 4))
    both("rssm", rssm, drawn(rng, 3, 2, 5), drawn(rng, 3, 2, 5))
    edges = torch.tensor(rng.integers(0, 6, (2, 12)))
    both(
        "egnn",
        lambda h, x, W: egnn(h, x, edges, W),
        drawn(rng, 6, 4),
        drawn(rng, 6, 3),
        drawn(rng, 9, 5),
    )
    both("capsule", capsule, drawn(rng, 2, 6, 4), drawn(rng, 3, 6, 5, 4))
    both(
        "ntm",
        ntm_address,
        drawn(rng, 2, 5, 3),
        drawn(rng, 2, 3),
        drawn(rng, 2, 1),
        torch.tensor(rng.random((2, 1))),
        torch.tensor(rng.random((2, 3))),
        torch.tensor(1 + rng.random((2, 1))),
        torch.tensor(rng.random((2, 5))),
    )
    return out
