"""What mpirun adds to a rank's own words is left out, however it is cut; all else is shown."""

from itertools import pairwise

import pytest

from distgrad.cli.complaints import Complaints

RULE = "-" * 74 + "\n"
RAISED = "[rank 1/3] Traceback (most recent call last):\n[rank 1/3] ZeroDivisionError\n"
COMPLAINTS = (
    "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n  Errorcode: 1\n",
    'prterun has exited due to process rank 1 with PID 0 on node vm calling\n"abort".\n',
    "prterun detected that one or more processes exited with non-zero status,\nthus causing\n",
)
KILLED = "prterun noticed that process rank 1 with PID 7 exited on\nsignal 9 (Killed).\n"


def shown(text, *cuts, understood=False):
    complaints = Complaints()
    complaints.understood = understood
    ends = [0, *cuts, len(text)]
    parts = [text[a:b].encode() for a, b in pairwise(ends)]
    return b"".join([*map(complaints.left_out, parts), complaints.end()]).decode()


@pytest.mark.parametrize("words", COMPLAINTS)
def test_a_complaint_after_a_traceback_is_left_out_wherever_it_is_cut(words):
    text = RAISED + RULE + words + RULE + "after\n"
    for cut in range(len(RAISED), len(text) + 1):
        assert shown(text, cut) == RAISED + "after\n"


def test_two_complaints_one_after_the_other_are_left_out():
    assert shown(RAISED + "".join(RULE + words + RULE for words in COMPLAINTS)) == RAISED


def test_without_words_of_a_ranks_own_it_is_shown():
    text = RULE + COMPLAINTS[2] + RULE
    assert shown(text) == text
    assert shown(text, understood=True) == ""  # after a Ctrl-C


@pytest.mark.parametrize(
    "text",
    [
        RAISED + RULE + KILLED + RULE,
        RAISED + RULE + "a table that has no second rule\n",
        RAISED + RULE + "x\n" * 5000,
        RAISED + "-" * 70,
        RAISED + "--- a line\n",
    ],
)
def test_all_else_is_shown(text):
    for cut in (len(RAISED) + 10, len(text) - 3):
        assert shown(text, cut) == text
