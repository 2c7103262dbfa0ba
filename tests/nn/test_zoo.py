"""The zoo: sizes, names in files of others, what is refused, what a training step may do with it.

tests/oracle/test_zoo.py has the values.
"""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.nn import zoo

GPT2 = {"vocab_size": 11, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 3}
BERT = {
    "vocab_size": 11,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 8,
}
TOKENS = np.random.default_rng(0).integers(1, 11, (4, 7))
IMAGES = np.random.default_rng(1).normal(size=(4, 3, 32, 32)).astype(np.float32)

# Name: how it is made, what it is given.
MODELS = {
    "GPT2": (lambda: zoo.GPT2(**GPT2), TOKENS),
    "BERT": (lambda: zoo.BERT(**BERT), TOKENS),
    "BERT, labels": (lambda: zoo.BERT(**BERT, num_labels=3), TOKENS),
    "resnet18": (lambda: zoo.resnet18(num_classes=5), IMAGES),
    "LeNet": (lambda: zoo.LeNet(in_channels=3), IMAGES),
    "MLP": (lambda: zoo.MLP(32, [6, 5], nn.LayerNorm, dropout=0.1), IMAGES[:, 0, 0]),
    "RNNModel": (lambda: zoo.RNNModel("LSTM", 11, 6, 6, tie_weights=True), TOKENS),
}


def output(model, x):
    y = model(x)
    return y[0] if isinstance(y, tuple) else y


def loss_of(model, x):
    scores = output(model, x)
    scores = scores.reshape(-1, scores.shape[-1])
    return F.cross_entropy(scores, dg.arange(len(scores)) % scores.shape[-1])


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        (zoo.GPT2, 124_439_808),
        (zoo.BERT, 109_514_298),
        (zoo.resnet18, 11_689_512),
        (zoo.resnet34, 21_797_672),
        (zoo.resnet50, 25_557_032),
        (zoo.LeNet, 61_706),
    ],
)
def test_the_defaults_are_the_real_sizes_which_skip_init_neither_draws_nor_touches(make, millions):
    model = nn.utils.skip_init(make)
    assert sum(p.size for p in model.parameters()) == millions
    largest = max(model.parameters(), key=lambda p: p.size)
    assert not largest.array[..., -1].any()
    assert nn.Linear(2, 2).weight.array.all()  # drawn again after it


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (
            lambda: zoo.GPT2(**GPT2),
            {
                "transformer.wte.weight": (11, 12),
                "transformer.wpe.weight": (8, 12),
                "transformer.h.1.attn.c_attn.weight": (12, 36),
                "transformer.h.1.attn.c_proj.bias": (12,),
                "transformer.h.0.mlp.c_fc.weight": (12, 48),
                "transformer.h.0.mlp.c_proj.weight": (48, 12),
                "transformer.ln_f.bias": (12,),
                "lm_head.weight": (11, 12),
            },
        ),
        (
            lambda: zoo.BERT(**BERT),
            {
                "bert.embeddings.token_type_embeddings.weight": (2, 12),
                "bert.embeddings.LayerNorm.weight": (12,),
                "bert.encoder.layer.0.attention.self.query.weight": (12, 12),
                "bert.encoder.layer.1.attention.output.LayerNorm.bias": (12,),
                "bert.encoder.layer.1.intermediate.dense.weight": (20, 12),
                "bert.encoder.layer.1.output.dense.weight": (12, 20),
                "cls.predictions.bias": (11,),
                "cls.predictions.transform.LayerNorm.weight": (12,),
                "cls.predictions.decoder.weight": (11, 12),
                "cls.predictions.decoder.bias": (11,),
            },
        ),
        (
            lambda: zoo.BERT(**BERT, num_labels=3),
            {"bert.pooler.dense.weight": (12, 12), "classifier.weight": (3, 12)},
        ),
        (
            lambda: nn.utils.skip_init(zoo.resnet50),
            {
                "conv1.weight": (64, 3, 7, 7),
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer3.5.bn3.running_var": (1024,),
                "layer4.0.conv2.weight": (512, 512, 3, 3),
                "layer4.0.downsample.1.num_batches_tracked": (),
                "fc.weight": (1000, 2048),
            },
        ),
        (
            lambda: zoo.RNNModel("LSTM", 11, 6, 8),
            {
                "encoder.weight": (11, 6),
                "rnn.weight_ih_l0": (32, 6),
                "rnn.bias_hh_l1": (32,),
                "decoder.weight": (11, 8),
            },
        ),
        (lambda: zoo.MLP(4, [6, 5, 3]), {"0.weight": (6, 4), "3.bias": (5,), "6.weight": (3, 5)}),
        (zoo.LeNet, {"conv2.weight": (16, 6, 5, 5), "fc1.weight": (120, 400)}),
    ],
)
def test_names_and_shapes_are_those_of_the_source(make, names):
    state = make().state_dict()
    assert {n: state[n].shape for n in names} == names


def test_a_state_of_gpt2_without_head_and_prefix_and_with_masks_is_taken():
    source, model = zoo.GPT2(**GPT2), zoo.GPT2(**GPT2)
    state = {
        name.removeprefix("transformer."): tensor
        for name, tensor in source.state_dict().items()
        if name != "lm_head.weight"
    }
    for i in range(2):
        state[f"h.{i}.attn.bias"] = np.tril(np.ones((1, 1, 8, 8), np.uint8))
        state[f"h.{i}.attn.masked_bias"] = np.array(-1e4)
    assert model.load_state_dict(state) == ([], [])
    assert nn.state_sha256(model.state_arrays()) == nn.state_sha256(source.state_arrays())


def test_a_state_of_bert_without_prefix_and_with_old_names_is_taken():
    source, model = (zoo.BERT(**BERT, num_labels=3) for _ in range(2))
    for p in source.parameters():
        p.array[...] += 1
    old = {"weight": "gamma", "bias": "beta"}
    state = {}
    for name, tensor in source.state_dict().items():
        before, _, last = name.removeprefix("bert.").rpartition(".")
        state[f"{before}.{old[last]}" if "LayerNorm" in name else f"{before}.{last}"] = tensor
    state["embeddings.position_ids"] = np.arange(8)[None]
    assert model.load_state_dict(state) == ([], [])
    assert nn.state_sha256(model.state_arrays()) == nn.state_sha256(source.state_arrays())


def test_a_model_inside_another_takes_its_names_too():
    source, model = zoo.GPT2(**GPT2), nn.ModuleDict({"lm": zoo.GPT2(**GPT2)})
    state = {f"lm.{n}": t for n, t in source.transformer.state_dict().items()}
    model.load_state_dict(state)
    assert np.array_equal(model["lm"].lm_head.weight.array, source.lm_head.weight.array)


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_is_loaded_again_by_any_reader_of_safetensors(name, tmp_path):
    make, _ = MODELS[name]
    source, model = make(), nn.utils.skip_init(make)
    file = tmp_path / "model.safetensors"
    dg.save(source.state_dict(), file)
    assert model.load_state_dict(load_file(file)) == ([], [])
    assert nn.state_sha256(model.state_arrays()) == nn.state_sha256(source.state_arrays())
    save_file(source.state_arrays(), file, metadata={"format": "pt"})
    assert set(dg.load(file)) == set(source.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_a_captured_step_has_the_eager_steps_bits(name):
    make, x = MODELS[name]
    found = []
    for capture in (False, True):
        dg.manual_seed(0)
        model = make()
        optimizer = optim.AdamW(zoo.decay_groups(model, 0.1), lr=1e-2)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = loss_of(model, x)
            loss.backward()
            optimizer.step()
            return loss

        run = dg.capture(step) if capture else step
        losses = [run(x).item() for _ in range(4)]
        found.append((losses, nn.state_sha256(model.state_arrays())))
        assert losses[-1] < losses[0]
    assert found[1] == found[0]


@pytest.mark.parametrize("name", ["GPT2", "BERT", "LeNet"])
def test_three_ranks_have_the_bits_of_one(name):
    make, x = MODELS[name]

    def train():
        dg.init(shards=4)
        dg.manual_seed(3)
        model = make()
        optimizer = optim.AdamW(zoo.decay_groups(model, 0.1), lr=1e-2)
        ddp = dg.DistributedDataParallel(model)
        for batch in dg.data.DataLoader(dg.data.ArrayDataset(x), len(x)):
            optimizer.zero_grad()
            for (part,) in batch.shards:
                ddp.backward(loss_of(model, part))
            optimizer.step()
        return nn.state_sha256(model.state_arrays())

    assert set(simulated(3, train)) == {alone(train)}


def test_dropout_stands_where_the_papers_have_it_and_evaluation_has_none():
    asked = []
    for model, x, places in (
        (zoo.GPT2(**GPT2), TOKENS, 1 + 2 * 2),  # embeddings, two branches a block
        (zoo.BERT(**BERT), TOKENS, 1 + 2 * 2),
        (zoo.BERT(**BERT, num_labels=3), TOKENS, 1 + 2 * 2 + 1),  # and the head
        (zoo.RNNModel("LSTM", 11, 6, 6), TOKENS, 2),
        (zoo.MLP(32, [6, 5, 4], dropout=0.1), IMAGES[:, 0, 0], 3),
    ):
        asked.clear()
        for m in model.modules():
            if isinstance(m, nn.Dropout):
                m.register_forward_hook(lambda *_: asked.append(1))
        outputs = [output(model, x).detach().numpy() for _ in range(2)]
        assert len(asked) == 2 * places
        assert not np.array_equal(*outputs)
        model.eval()
        outputs = [output(model, x).detach().numpy() for _ in range(2)]
        assert np.array_equal(*outputs)


@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (zoo.GPT2, {"attn_pdrop": 0.5, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
        (zoo.BERT, {"attention_probs_dropout_prob": 0.5, "hidden_dropout_prob": 0.0}),
    ],
)
def test_the_weights_of_attention_are_dropped_out_in_training_alone(make, rates):
    model = make(**(GPT2 if make is zoo.GPT2 else BERT), **rates)
    outputs = [output(model, TOKENS).detach().numpy() for _ in range(2)]
    assert not np.array_equal(*outputs)
    model.eval()
    assert not np.array_equal(output(model, TOKENS).detach().numpy(), outputs[0])


def test_gpt2_does_not_look_ahead_and_bert_not_at_padding():
    gpt, bert = zoo.GPT2(**GPT2).eval(), zoo.BERT(**BERT).eval()
    changed, seen = TOKENS.copy(), np.ones_like(TOKENS)
    changed[:, 4:] = 1 + TOKENS[:, 4:] % 10
    seen[:, 4:] = 0
    for outputs in (
        (gpt(TOKENS), gpt(changed)),
        (bert(TOKENS, attention_mask=seen), bert(changed, attention_mask=seen)),
    ):
        a, b = (y.detach().numpy() for y in outputs)
        np.testing.assert_allclose(a[:, :4], b[:, :4], rtol=1e-5, atol=1e-6)
        assert np.abs(a[:, 4:] - b[:, 4:]).max() > 1e-3
    difference = bert(TOKENS) - bert(changed)
    assert np.abs(difference.detach().numpy()[:, :4]).max() > 1e-5


def test_initial_weights_are_the_sources():
    dg.manual_seed(0)
    gpt = zoo.GPT2(101, 50, 64, 8, 4)
    block = gpt.transformer.h[3]
    for p, std in (
        (gpt.transformer.wte.weight, 0.02),
        (block.attn.c_attn.weight, 0.02),
        (block.mlp.c_fc.weight, 0.02),
        (block.attn.c_proj.weight, 0.02 / 4),
        (block.mlp.c_proj.weight, 0.02 / 4),
    ):
        assert p.array.std() == pytest.approx(std, rel=0.05)
    assert not block.mlp.c_fc.bias.array.any()

    bert = zoo.BERT(**BERT, num_labels=64)
    assert bert.classifier.weight.array.std() == pytest.approx(0.02, rel=0.1)
    assert not bert.classifier.bias.array.any()
    assert not bert.bert.embeddings.word_embeddings.weight.array[0].any()

    words = zoo.RNNModel("GRU", 101, 8, 8)
    assert 0.099 < words.decoder.weight.array.max() < 0.1
    assert not words.decoder.bias.array.any()

    resnet = zoo.resnet18(zero_init_residual=True)
    assert not resnet.layer1[0].bn2.weight.array.any()
    assert resnet.layer1[0].bn1.weight.array.all()
    assert resnet.conv1.weight.array.std() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_text_can_be_read_in_parts(kind):
    model = zoo.RNNModel(kind, 11, 6, 5).eval()
    whole, _ = model(TOKENS, model.init_hidden(7))
    first, hidden = model(TOKENS[:1])
    rest, _ = model(TOKENS[1:], hidden)
    parts = np.concatenate([first.detach().numpy(), rest.detach().numpy()])
    np.testing.assert_allclose(parts, whole.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(np.exp(parts).sum(1), 1, rtol=1e-5)


def test_matrices_decay_once_and_vectors_and_frozen_weights_do_not():
    model = zoo.GPT2(**GPT2)
    model.transformer.wpe.requires_grad_(False)
    names = {id(p): n for n, p in model.named_parameters()}
    decaying, others = zoo.decay_groups(model, 0.1)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    found = [names[id(p)] for p in decaying["params"]]
    assert found.count("transformer.wte.weight") == 1
    assert "transformer.wpe.weight" not in found
    assert "transformer.h.0.mlp.c_fc.weight" in found
    assert all(n.endswith("bias") or ".ln_" in n for n in map(names.get, map(id, others["params"])))
    assert len(found) + len(others["params"]) == len(names) - 1
    assert len(zoo.decay_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_a_head_of_another_size_is_named_with_what_to_do():
    state, model = zoo.LeNet(7).state_dict(), zoo.LeNet()
    with pytest.raises(
        dg.ShapeError,
        match=r"^'fc3.weight' has shape \(10, 84\) in the model and \(7, 84\) in the state "
        r"\(also: \['fc3.bias'\]\).*take the names out of the state and pass strict=False",
    ):
        model.load_state_dict(state, strict=False)
    for name in ("fc3.weight", "fc3.bias"):
        del state[name]
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["fc3.weight", "fc3.bias"], [])
    assert np.array_equal(model.fc2.weight.array, state["fc2.weight"].array)


def test_what_is_missing_or_unexpected_is_named_with_what_to_do():
    model = zoo.GPT2(**GPT2)
    state = model.state_dict()
    state["score.weight"] = state.pop("transformer.ln_f.bias")
    with pytest.raises(
        dg.ShapeError,
        match=r"missing \['transformer.ln_f.bias'\], unexpected \['score.weight'\]; pass "
        r"strict=False .* keeps the model's values, what is unexpected is left out",
    ):
        model.load_state_dict(state)
    before = model.transformer.ln_f.bias
    model.load_state_dict(state, strict=False)
    assert model.transformer.ln_f.bias is before
    with pytest.raises(dg.ShapeError, match=r"c_attn.weight'.* and 21 more, unexpected nothing"):
        model.load_state_dict({"wte.weight": state["transformer.wte.weight"]})


def test_a_matrix_that_is_turned_is_named():
    model = zoo.GPT2(**GPT2)
    state = model.state_dict()
    name = "transformer.h.0.attn.c_attn.weight"  # as those who write GPT-2 with Linear have it
    state[name] = state[name].T
    with pytest.raises(dg.ShapeError, match=rf"'{name}' .*its transpose: turn it, .*\.T"):
        model.load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: zoo.resnet18(weights="DEFAULT"), r"resnet18: weights='DEFAULT'.*dg.load"),
        (lambda: zoo.BasicBlock(4, 4, groups=2), "groups=2.*Bottleneck"),
        (lambda: zoo.ResNet(zoo.BasicBlock, [1, 1]), r"four numbers of blocks.*\[1, 1\]"),
        (lambda: zoo.GPT2(**GPT2 | {"n_head": 5}), "n_head=5 must divide n_embd=12"),
        (lambda: zoo.GPT2(**GPT2)(np.zeros((2, 9), int)), r"n_positions=8; got \(2, 9\)"),
        (lambda: zoo.GPT2(**GPT2)(np.zeros(5, int)), r"takes tokens \(b, t\).*got \(5,\)"),
        (lambda: zoo.BERT(**BERT | {"num_attention_heads": 5}), "=5 must divide hidden_size=12"),
        (lambda: zoo.BERT(**BERT)(np.zeros((2, 9), int)), r"embeddings=8; got \(2, 9\)"),
        (lambda: zoo.MLP(4, []), "hidden_channels are the widths.*got none"),
        (lambda: zoo.LeNet(image_size=15), "image_size is 16 or more; got 15"),
        (lambda: zoo.RNNModel("QRNN", 5, 4, 4), "'LSTM', 'GRU'; got 'QRNN'"),
        (lambda: zoo.RNNModel("LSTM", 5, 4, 3, tie_weights=True), "nhid=3 must be ninp=4"),
    ],
)
def test_what_cannot_be_made_says_why(call, message):
    with pytest.raises(dg.DistgradError, match=message):
        call()


def test_a_name_that_is_nearly_one_is_suggested():
    with pytest.raises(AttributeError, match="did you mean resnet"):
        zoo.resnet19  # noqa: B018
