"""What the losses refuse, what they are at their limits, and their modules, without PyTorch."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from layer_cases import LOSSES

from distgrad import ShapeError, Tensor, gradcheck, manual_seed, nn
from distgrad.nn import functional as F

X = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
P = np.random.default_rng(3).uniform(0.1, 0.9, (4, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1])
ONES = np.array([1, -1, 1, -1])

CALLS = {
    "mse_loss": lambda **s: F.mse_loss(X, P, **s),
    "l1_loss": lambda **s: F.l1_loss(X, P, **s),
    "smooth_l1_loss": lambda **s: F.smooth_l1_loss(X, P, **s),
    "huber_loss": lambda **s: F.huber_loss(X, P, **s),
    "poisson_nll_loss": lambda **s: F.poisson_nll_loss(X, P, full=True, **s),
    "gaussian_nll_loss": lambda **s: F.gaussian_nll_loss(X, P, P, full=True, **s),
    "kl_div": lambda **s: F.kl_div(X, P, **s),
    "cross_entropy": lambda **s: F.cross_entropy(X, LABELS, **s),
    "cross_entropy weighted": lambda **s: F.cross_entropy(
        X, LABELS, [1.0, 2.0, 0.5], label_smoothing=0.1, **s
    ),
    "cross_entropy of probabilities": lambda **s: F.cross_entropy(X, P, np.ones(3), **s),
    "nll_loss": lambda **s: F.nll_loss(X, LABELS, np.arange(1.0, 4.0), **s),
    "binary_cross_entropy": lambda **s: F.binary_cross_entropy(P, X > 0, [1.0, 2.0, 0.5], **s),
    "binary_cross_entropy_with_logits": lambda **s: F.binary_cross_entropy_with_logits(
        X, X > 0, pos_weight=np.arange(3), **s
    ),
    "soft_margin_loss": lambda **s: F.soft_margin_loss(X, np.where(X > 0, 1, -1), **s),
    "multi_margin_loss": lambda **s: F.multi_margin_loss(X, LABELS, weight=[1.0, 2.0, 3.0], **s),
    "multilabel_margin_loss": lambda **s: F.multilabel_margin_loss(
        X, np.array([[0, -1, 2]] * 4), **s
    ),
    "multilabel_soft_margin_loss": lambda **s: F.multilabel_soft_margin_loss(X, X > 0, **s),
    "hinge_embedding_loss": lambda **s: F.hinge_embedding_loss(X, np.where(X > 0, 1, -1), **s),
    "margin_ranking_loss": lambda **s: F.margin_ranking_loss(X, P, np.where(X > 0, 1, -1), **s),
    "cosine_embedding_loss": lambda **s: F.cosine_embedding_loss(X, P, ONES, **s),
    "triplet_margin_loss": lambda **s: F.triplet_margin_loss(X, P, -X, **s),
    "ctc_loss": lambda **s: F.ctc_loss(X, [1, 2], [4], [2], **s),
}
every_loss = pytest.mark.parametrize("name", CALLS)


@every_loss
def test_mean_and_sum_are_of_what_none_returns_and_float32_stays(name):
    call = CALLS[name]
    each = call(reduction="none")
    assert each.dtype == call().dtype == call(reduction="sum").dtype == np.float32
    assert math.isclose(call(reduction="sum").item(), each.array.sum(), rel_tol=1e-5)
    if "weighted" not in name and name not in {"nll_loss", "ctc_loss"}:
        assert math.isclose(call().item(), each.array.mean(), rel_tol=1e-5)


@every_loss
def test_a_reduction_that_is_none_is_refused(name):
    with pytest.raises(ShapeError, match="reduction is 'mean', 'sum' or 'none'; got 'average'"):
        CALLS[name](reduction="average")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *(
            (lambda n=n: getattr(F, n)(X, P[0]), rf"{n} compares equal shapes; got \(4, 3\) and")
            for n in (
                "l1_loss",
                "smooth_l1_loss",
                "huber_loss",
                "poisson_nll_loss",
                "kl_div",
                "binary_cross_entropy",
                "binary_cross_entropy_with_logits",
                "multilabel_soft_margin_loss",
                "soft_margin_loss",
                "hinge_embedding_loss",
            )
        ),
        (lambda: F.margin_ranking_loss(X, X, ONES), r"margin_ranking_loss compares equal shapes"),
        (lambda: F.huber_loss(X, P, delta=0), r"huber_loss: delta .*; got 0"),
        (lambda: F.smooth_l1_loss(X, P, beta=-1), r"smooth_l1_loss: beta is not negative; got -1"),
        (lambda: F.gaussian_nll_loss(X, P, P[0]), r"without its last axis; got \(3,\)"),
        (lambda: F.gaussian_nll_loss(X, P, -P), r"var is not negative; got -0\."),
        (lambda: F.cross_entropy(X, P, ignore_index=1), r"ignore_index is for labels"),
        (lambda: F.cross_entropy(X, LABELS, label_smoothing=2), r"from 0 to 1; got 2"),
        (lambda: F.cross_entropy(X, LABELS, [1.0]), r"3 classes need as many weights; got \(1,\)"),
        (lambda: F.cross_entropy(X, P, [1.0]), r"3 classes need as many weights; got \(1,\)"),
        (lambda: F.cross_entropy(X, P[:2]), r"labels must be integers; got dtype float32"),
        (lambda: F.cross_entropy(X[0], 3), r"label 3 at index 0 is out of range for 3 classes"),
        (
            lambda: F.nll_loss(X, [0, 1, 5, 1]),
            r"nll_loss: label 5 at index 2 is out of range for 3",
        ),
        (lambda: F.nll_loss(X, LABELS[:2]), r"n is 4 in log_probs but 2 in labels"),
        (lambda: F.binary_cross_entropy(P + 0.5, P), r"at index \d, \d is no probability; use bin"),
        (lambda: F.multi_margin_loss(X, LABELS, p=3), r"multi_margin_loss: p is 1 or 2; got 3"),
        (lambda: F.multi_margin_loss(X, LABELS[:3]), r"got \(4, 3\) and \(3,\)"),
        (lambda: F.multi_margin_loss(X, LABELS - 1), r"label -1 at index 0 is out of range for 3"),
        (lambda: F.multilabel_margin_loss(X, LABELS), r"got \(4, 3\) and \(4,\)"),
        (
            lambda: F.multilabel_margin_loss(X[0], np.array([0, 3, -1])),
            r"multilabel_margin_loss: label 3 at index 0, 1 is out of range for 3 classes",
        ),
        (lambda: F.cosine_embedding_loss(X, P, ONES[:2]), r"and targets \(n\).*and \(2,\)"),
        (lambda: F.triplet_margin_loss(X, P, P, margin=0), r"margin is above 0; got 0"),
        (lambda: F.triplet_margin_loss(X, P, P[0]), r"triplet_margin_loss compares equal shapes"),
        (lambda: F.normalize(X, p=-1), r"the order of a norm is not negative; got p=-1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


FRAMES = np.full((5, 2, 4), math.log(0.25), np.float32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"targets": [[1, 4], [1, 2]]}, r"target 4 of sample 0 at index 1 .*0\.\.3 without.* 0$"),
        ({"targets": [[1, 2], [0, 2]]}, r"target 0 of sample 1 at index 0 is out of range"),
        ({"targets": [[1, 3], [1, -2]]}, r"target -2 of sample 1 at index 1 is out of range"),
        ({"targets": [[1], [1]]}, r"targets are \(2, 2 or more\).*; got \(2, 1\)"),
        ({"targets": [1, 2, 3]}, r"have the sum of target_lengths, 4, labels; got 3"),
        ({"targets": [[1.0, 2.0], [1.0, 2.0]]}, r"targets must be integers; got dtype float"),
        ({"input_lengths": [6, 5]}, r"input_lengths\[0\] is 6; .* at most the 5 frames"),
        ({"input_lengths": [5]}, r"2 samples need as many input_lengths; got 1"),
        ({"target_lengths": [2, -1]}, r"target_lengths\[1\] is -1; lengths start at 0$"),
        ({"blank": 4}, r"blank=4 is none of the 4 classes"),
        ({"log_probs": FRAMES[0, 0]}, r"log_probs \(t, n, c\) or \(t, c\).*; got \(4,\)"),
        ({"log_probs": FRAMES[:0]}, r"at least one frame and one class; got \(0, 2, 4\)"),
    ],
)
def test_ctc_names_what_does_not_fit(given, message):
    good = {
        "log_probs": FRAMES,
        "targets": [[1, 2], [3, 3]],
        "input_lengths": [5, 4],
        "target_lengths": [2, 2],
    }
    assert np.isfinite(F.ctc_loss(**good).item())
    with pytest.raises(ShapeError, match=message):
        F.ctc_loss(**{**good, **given})


def alignments(log_probs, labels, blank):
    """Sum the probabilities of all paths that read as ``labels``."""
    total = 0.0
    for path in np.ndindex(*(log_probs.shape[1],) * len(log_probs)):
        merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        if [c for c in merged if c != blank] == list(labels):
            total += math.exp(sum(row[c] for row, c in zip(log_probs, path, strict=True)))
    return total


@pytest.mark.parametrize("labels", [[], [1], [2, 2], [1, 2], [1, 1, 2]])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_sums_over_all_alignments(labels, blank):
    x = np.random.default_rng(1).normal(size=(5, 4))  # not normalised: any weights do
    loss = F.ctc_loss(x, np.array(labels, int), 5, len(labels), blank, reduction="sum")
    assert math.isclose(loss.item(), -math.log(alignments(x, labels, blank)), rel_tol=1e-12)


def test_padding_beyond_the_lengths_does_not_count():
    x = np.random.default_rng(1).normal(size=(6, 2, 4))
    wide, narrow = np.array([[1, 2, -5, 99], [3, 0, 0, 0]]), np.array([[1, 2], [3, 1]])
    changed = x.copy()
    changed[4:, 1] = np.nan
    a = F.ctc_loss(x, wide, [6, 4], [2, 1], reduction="none")
    b = F.ctc_loss(changed, narrow, [6, 4], [2, 1], reduction="none")
    np.testing.assert_array_equal(a.array, b.array)


@pytest.mark.parametrize("zero", [False, True])
def test_an_impossible_target_has_no_gradient_or_spoils_its_own_only(zero):
    x = Tensor(np.zeros((2, 2, 3)), requires_grad=True)
    loss = F.ctc_loss(x, [[1, 1], [1, 2]], [2, 2], [2, 2], reduction="none", zero_infinity=zero)
    assert loss.array[0] == (0 if zero else math.inf)
    loss.sum().backward()
    np.testing.assert_array_equal(x.grad.array[:, 0, :2], 0 if zero else np.nan)
    np.testing.assert_array_equal(x.grad.array[:, 1], [[0, -1, 0], [0, 0, -1]])


def test_hinges_let_go_at_equal_inputs_without_a_margin():
    a, b = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    F.margin_ranking_loss(a, b, np.ones(3), reduction="sum").backward()
    np.testing.assert_array_equal(a.grad.array, -1)
    np.testing.assert_array_equal(b.grad.array, 1)


def test_zero_vectors_have_finite_gradients():
    for function in (F.normalize, lambda x: F.cosine_similarity(x, np.ones((2, 3)))):
        x = Tensor(np.zeros((2, 3)), requires_grad=True)
        function(x).sum().backward()
        assert np.isfinite(x.grad.array).all()
    for p in (1, 1.5, 2, 3, math.inf):
        x = Tensor(np.zeros((2, 3)), requires_grad=True)
        F.pairwise_distance(x, np.zeros((2, 3)), p=p, eps=0.0).sum().backward()
        np.testing.assert_array_equal(x.grad.array, 0)


def test_p_0_counts_what_is_not_zero():
    y = F.pairwise_distance(np.array([[1.0, 0, 2]]), np.zeros((1, 3)), p=0, eps=0)
    np.testing.assert_array_equal(y.array, [2])


def test_whole_numbers_as_targets_keep_float32():
    for target in (X > 0, (X > 0).astype(int), (X > 0).astype(np.int64).tolist()):
        assert F.mse_loss(X, target).dtype == np.float32
        assert F.binary_cross_entropy_with_logits(X, target).dtype == np.float32


def test_weighted_labels_and_probabilities_agree():
    x, labels, weight = X.astype(float), LABELS, np.array([1.0, 2.0, 0.5])
    one_hot = np.eye(3)[labels]
    for smoothing in (0.0, 0.3):
        each = [
            F.cross_entropy(x, t, weight, reduction="none", label_smoothing=smoothing).array
            for t in (labels, one_hot)
        ]
        np.testing.assert_allclose(*each)


def test_a_kl_divergence_may_have_targets_of_0():
    t = Tensor(np.array([[0.0, 1.0]]), requires_grad=True)
    loss = F.kl_div(np.log([[0.5, 0.5]]), t, reduction="batchmean")
    assert math.isclose(loss.item(), math.log(2), rel_tol=1e-6)
    loss.backward()
    assert np.isfinite(t.grad.array).all()


def test_nothing_to_average_is_nan_and_sums_to_0():
    empty = np.zeros((0, 3))
    for call in (F.mse_loss, F.l1_loss, F.huber_loss, F.kl_div, F.cross_entropy):
        assert math.isnan(call(empty, empty).item())
        assert call(empty, empty, reduction="sum").item() == 0
    assert math.isnan(F.cross_entropy(empty, np.zeros(0, int)).item())
    assert math.isnan(F.kl_div(empty, empty, reduction="batchmean").item())


def test_composed_losses_have_second_gradients():
    x = np.random.default_rng(0).normal(size=(3, 4))
    y = np.array([1, 0, 3])
    gradcheck(lambda a: F.cross_entropy(a, y, np.arange(1.0, 5.0)), [x], second=True)
    gradcheck(lambda a: F.multi_margin_loss(a, y, p=2), [x], second=True)
    gradcheck(lambda a: F.triplet_margin_loss(a, x[::-1], -x, swap=True), [x], second=True)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.MSELoss(), "MSELoss()"),
        (nn.HuberLoss(delta=0.5), "HuberLoss()"),
        (nn.NLLLoss(weight=np.ones(2)), "NLLLoss()"),
        (nn.CosineSimilarity(), "CosineSimilarity()"),
    ],
)
def test_modules_print_as_pytorchs(module, text):
    assert repr(module) == text


def test_a_modules_settings_may_change_and_it_can_be_copied():
    loss = nn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5], np.float32))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other(X, LABELS).item() == loss(X, LABELS).item()
    assert list(loss.state_dict()) == ["weight"]
    assert list(nn.CrossEntropyLoss().state_dict()) == []
    loss.reduction = "none"
    assert loss(input=X, target=LABELS).shape == (4,)


def test_a_distance_that_is_a_module_is_a_child():
    loss = nn.TripletMarginWithDistanceLoss(distance_function=nn.PairwiseDistance(p=1.0))
    assert [n for n, _ in loss.named_children()] == ["distance_function"]
    assert loss(X, X, X).item() == 1


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
def test_the_loss_of_whole_numbers_is_that_of_real_ones_or_refused(name, reduction):
    for args, settings, draw in LOSSES[name]:
        arrays = [
            np.rint(a) if a.dtype.kind == "f" else a for a in draw(np.random.default_rng(3), 5)
        ]
        loss = getattr(nn, name)(*args, **{"reduction": reduction, **settings})
        expected = loss(*[a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays])
        whole = [a.astype(np.int64) for a in arrays]
        if name in {"CrossEntropyLoss", "CTCLoss"}:  # no logits
            with pytest.raises(ShapeError):
                loss(*whole)
        else:
            found = loss(*whole)  # of the default dtype where a real number takes part
            tolerance = 1e-12 if found.dtype == np.float64 else 1e-6
            np.testing.assert_allclose(found.array, expected.array, rtol=tolerance)


def test_the_numbers_that_noise_multiplies_and_joins_are_not_whole():
    ones = np.ones((300, 3), np.int64)
    manual_seed(0)
    kept = F.dropout(ones, 0.25).array
    assert set(np.unique(kept)) == {0, 1 / (1 - 0.25)}
    slopes = -F.rrelu(-ones, training=True).array
    assert ((slopes > 0.12) & (slopes < 0.34)).all()
    drawn = F.gumbel_softmax(ones).array
    assert len(np.unique(drawn)) > 800
    one, var = np.zeros(3, np.int64), np.zeros(3, np.int64)
    np.testing.assert_allclose(F.gaussian_nll_loss(one, one, var).array, 0.5 * np.log(1e-6))
