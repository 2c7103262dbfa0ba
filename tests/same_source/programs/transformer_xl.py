"""A Transformer-XL: segments with memory, relative shifts of positions, an adaptive softmax."""

import functools

import torch
import torch.nn as nn
import torch.nn.functional as F


class PositionalEmbedding(nn.Module):
    def __init__(self, demb):
        super().__init__()
        inv_freq = 1 / (10000 ** (torch.arange(0.0, demb, 2.0) / demb))
        self.register_buffer("inv_freq", inv_freq)

    def forward(self, pos_seq, bsz=None):
        sinusoid_inp = torch.ger(pos_seq, self.inv_freq)
        pos_emb = torch.cat([sinusoid_inp.sin(), sinusoid_inp.cos()], dim=-1)
        if bsz is not None:
            return pos_emb[:, None, :].expand(-1, bsz, -1)
        return pos_emb[:, None, :]


class RelPartialLearnableMultiHeadAttn(nn.Module):
    def __init__(self, n_head, d_model, d_head, pre_lnorm=False):
        super().__init__()
        self.n_head, self.d_head, self.pre_lnorm = n_head, d_head, pre_lnorm
        self.qkv_net = nn.Linear(d_model, 3 * n_head * d_head, bias=False)
        self.r_net = nn.Linear(d_model, n_head * d_head, bias=False)
        self.o_net = nn.Linear(n_head * d_head, d_model, bias=False)
        self.layer_norm = nn.LayerNorm(d_model)
        self.scale = 1 / (d_head**0.5)

    def _rel_shift(self, x):
        zero_pad = torch.zeros((x.size(0), 1, *x.size()[2:]), device=x.device, dtype=x.dtype)
        x_padded = torch.cat([zero_pad, x], dim=1)
        x_padded = x_padded.view(x.size(1) + 1, x.size(0), *x.size()[2:])
        return x_padded[1:].view_as(x)

    def forward(self, w, r, r_w_bias, r_r_bias, attn_mask=None, mems=None):
        qlen, rlen, bsz = w.size(0), r.size(0), w.size(1)
        cat = w if mems is None else torch.cat([mems, w], 0)
        w_heads = self.qkv_net(self.layer_norm(cat) if self.pre_lnorm else cat)
        w_head_q, w_head_k, w_head_v = torch.chunk(w_heads, 3, dim=-1)
        w_head_q = w_head_q[-qlen:]
        klen = w_head_k.size(0)
        w_head_q = w_head_q.reshape(qlen, bsz, self.n_head, self.d_head)
        w_head_k = w_head_k.reshape(klen, bsz, self.n_head, self.d_head)
        w_head_v = w_head_v.reshape(klen, bsz, self.n_head, self.d_head)
        r_head_k = self.r_net(r).view(rlen, self.n_head, self.d_head)

        AC = torch.einsum("ibnd,jbnd->ijbn", (w_head_q + r_w_bias, w_head_k))
        BD = torch.einsum("ibnd,jnd->ijbn", (w_head_q + r_r_bias, r_head_k))
        attn_score = AC + self._rel_shift(BD)
        attn_score.mul_(self.scale)
        if attn_mask is not None and attn_mask.any().item():
            attn_score = attn_score.masked_fill(attn_mask[:, :, None, None], -float("inf"))
        attn_prob = F.softmax(attn_score, dim=1)
        attn_vec = torch.einsum("ijbn,jbnd->ibnd", (attn_prob, w_head_v))
        attn_vec = attn_vec.contiguous().view(qlen, bsz, self.n_head * self.d_head)
        attn_out = self.o_net(attn_vec)
        return w + attn_out if self.pre_lnorm else self.layer_norm(w + attn_out)


class DecoderLayer(nn.Module):
    def __init__(self, n_head, d_model, d_head, d_inner):
        super().__init__()
        self.dec_attn = RelPartialLearnableMultiHeadAttn(n_head, d_model, d_head)
        self.pos_ff = nn.Sequential(
            nn.Linear(d_model, d_inner), nn.ReLU(inplace=True), nn.Linear(d_inner, d_model)
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x, r, r_w_bias, r_r_bias, dec_attn_mask=None, mems=None):
        x = self.dec_attn(x, r, r_w_bias, r_r_bias, attn_mask=dec_attn_mask, mems=mems)
        return self.norm(x + self.pos_ff(x))


class MemTransformerLM(nn.Module):
    def __init__(self, n_token=20, n_layer=2, n_head=2, d_model=8, d_head=4, mem_len=4):
        super().__init__()
        self.word_emb = nn.Embedding(n_token, d_model)
        self.pos_emb = PositionalEmbedding(d_model)
        self.r_w_bias = nn.Parameter(torch.Tensor(n_head, d_head))
        self.r_r_bias = nn.Parameter(torch.Tensor(n_head, d_head))
        self.layers = nn.ModuleList(
            [DecoderLayer(n_head, d_model, d_head, 16) for _ in range(n_layer)]
        )
        self.crit = nn.AdaptiveLogSoftmaxWithLoss(d_model, n_token, cutoffs=[8], div_value=2.0)
        self.mem_len, self.n_layer = mem_len, n_layer

    def init_mems(self):
        param = next(self.parameters())
        return [torch.empty(0, dtype=param.dtype) for _ in range(self.n_layer + 1)]

    @torch.no_grad()
    def _update_mems(self, hids, mems, qlen, mlen):
        end_idx = mlen + max(0, qlen)
        beg_idx = max(0, end_idx - self.mem_len)
        return [torch.cat([m, h], dim=0)[beg_idx:end_idx].detach() for m, h in zip(mems, hids)]

    def forward(self, data, target, *mems):
        if not mems:
            mems = self.init_mems()
        qlen, bsz = data.size()
        word_emb = self.word_emb(data)
        mlen = mems[0].size(0) if mems[0].numel() else 0
        klen = mlen + qlen
        mask = torch.triu(word_emb.new_ones(qlen, klen), diagonal=1 + mlen).bool()
        pos_seq = torch.arange(klen - 1, -1, -1.0, device=word_emb.device, dtype=word_emb.dtype)
        pos_emb = self.pos_emb(pos_seq).squeeze(1)
        hids = [word_emb]
        core_out = word_emb
        for i, layer in enumerate(self.layers):
            mems_i = mems[i] if mlen else None
            core_out = layer(core_out, pos_emb, self.r_w_bias, self.r_r_bias, mask, mems_i)
            hids.append(core_out)
        mems = [m.view(-1, bsz, hids[0].size(2)) for m in mems]
        new_mems = self._update_mems(hids, mems, qlen, mlen)
        loss = -self.crit(core_out.view(-1, core_out.size(-1)), target.reshape(-1)).output
        return [loss.view(qlen, bsz)] + new_mems


def init_weight(std, weight):
    nn.init.normal_(weight, 0.0, std)


def weights_init(m, std=0.02):
    classname = m.__class__.__name__
    if classname.find("Linear") != -1:
        if hasattr(m, "weight") and m.weight is not None:
            init_weight(std, m.weight)
        if hasattr(m, "bias") and m.bias is not None:
            nn.init.constant_(m.bias, 0.0)
    elif classname.find("MemTransformerLM") != -1:
        init_weight(std, m.r_w_bias)
        init_weight(std, m.r_r_bias)


def build():
    model = MemTransformerLM()
    model.apply(functools.partial(weights_init, std=0.1))
    return model


def data(rng):
    return (torch.tensor(rng.integers(0, 20, (31 * 3, 4)).cumsum(0) % 20),)


def train(model, data, steps):
    text = data[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 5))
    mems, losses = tuple(), []

    def train_step(data, target, *mems):
        model.zero_grad()
        ret = model(data, target, *mems)
        loss, mems = ret[0], ret[1:]
        loss = loss.mean().type_as(loss)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        return loss, mems

    for i in range(steps):
        seq = text[3 * i : 3 * i + 4]
        loss, mems = train_step(seq[:-1], seq[1:], *mems)
        scheduler.step()
        losses.append(loss.item())
    print([tuple(m.shape) for m in mems])
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        out, *mems = model(data[0][:4], data[0][1:5])
        again, *_ = model(data[0][4:7], data[0][5:8], *mems)
        hidden = model.word_emb(data[0][0])
    return [out, again, mems[-1], model.crit.log_prob(hidden), model.crit.predict(hidden)]
