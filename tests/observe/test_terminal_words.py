"""The parts of what a terminal shows: lines that fit, the screen, marks, the table, the command."""

import fcntl
import logging
import os
import struct
import sys
import termios
from types import ModuleType

import pytest

from distgrad.observe.terminal import (
    Reader,
    Row,
    Status,
    distgrad_command,
    obey,
    resuming,
    typed,
    words,
)
from distgrad.observe.terminal.displays import Lines, Marks, Terminal
from distgrad.observe.terminal.marks import encode
from distgrad.observe.terminal.streams import above
from distgrad.observe.terminal.table import table_lines

STATUS = Status(
    step=450,
    total=1800,
    epoch=3,
    epochs=12,
    numbers={"loss": 0.21345, "top 5 accuracy": 0.93, "gradient_norm": 1.234},
    rate=12345.6,
    left=83.4,
    validation={"loss": 0.31, "accuracy": 0.91},
)


def line(width, status=STATUS, **settings):
    return words.live_line(status, width, **{"ascii_only": False, "color": True, **settings}).plain


def test_a_live_line_fits_whatever_the_width():
    for width in range(1, 200):
        assert len(line(width)) <= width


def test_what_matters_most_goes_last():
    assert line(59) == "epoch 3/12  loss 0.2135  12,346 samples/s  eta 1:23"
    assert line(79).endswith("loss 0.2135  12,346 samples/s  eta 1:23  validation loss 0.31")
    assert line(119).endswith("eta 1:23  validation loss 0.31, accuracy 0.91")
    assert line(119).startswith("epoch 3/12  ━")
    assert "step 450/1800" in line(119)
    assert "|g| 1.234" in line(170)
    skipped = Status(**{**STATUS.as_json(), "skipped": 2})
    assert "skipped 2" in line(40, skipped)


def test_wide_characters_take_two_columns():
    wide = Status(**{**STATUS.as_json(), "numbers": {"損失": 0.5}})
    (text,) = [words.live_line(wide, w, ascii_only=False, color=True) for w in (30,)]
    assert text.cell_len <= 30
    assert "損失 0.5" in text.plain


def test_the_bar_shows_the_share_of_steps_and_is_ascii_where_it_must_be():
    bar = line(119, ascii_only=True).split("  ")[1]
    assert bar == "#" * (len(bar) // 4) + "-" * (len(bar) - len(bar) // 4)
    assert line(119, ascii_only=True).isascii()
    assert "─" in line(119, color=False)  # the rest is told apart without color, too


def test_a_log_line_has_keys_and_values_without_blanks_in_them():
    assert words.log_line(STATUS) == (
        "step 450/1800 epoch 3/12 loss 0.21345 top_5_accuracy 0.93 gradient_norm 1.234 "
        "samples/s 12346 eta 1:23"
    )
    assert words.evaluation_log_line(STATUS) == (
        "step 450/1800 epoch 3/12 validation/loss 0.31 validation/accuracy 0.91"
    )


# -- the screen ---------------------------------------------------------------------------------


class Pty:
    """A terminal of so many columns, and what is on it."""

    def __init__(self, columns):
        self.pyte = pytest.importorskip("pyte", reason="needs pyte, which is what a terminal shows")
        self.mine, self.its = os.openpty()
        self.resize(columns)
        self.screen = self.pyte.Screen(columns, 10)
        self.stream = self.pyte.ByteStream(self.screen)

    def resize(self, columns):
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 10, columns, 0, 0))

    def lines(self):
        os.write(self.its, b"\0")  # the end of what was written
        while not (data := os.read(self.mine, 1 << 16)).endswith(b"\0"):
            self.stream.feed(data)
        self.stream.feed(data)
        return [row.rstrip() for row in self.screen.display if row.strip()]


@pytest.fixture
def pty(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Pty(80)
    yield made
    os.close(made.mine)
    os.close(made.its)


def test_the_live_line_is_drawn_in_place_and_text_goes_above(pty):
    shown = Terminal(pty.its, "utf-8")
    shown.show(STATUS)
    shown.show(STATUS)
    assert pty.lines() == [line(79)]
    shown.say("a word")
    shown.screen.write(b"half a ")
    shown.show(STATUS)  # nothing is drawn over an unfinished line
    shown.screen.write(b"line\n")
    shown.show(STATUS)
    assert pty.lines() == ["a word", "half a line", line(79)]
    shown.close(failed=False)
    assert pty.lines() == ["a word", "half a line"]


def test_a_result_that_is_too_long_for_a_line_is_broken_between_words(pty):
    long = {"loss": 0.31, **{f"metric {letter}": 0.5 for letter in "abcdef"}}
    shown = Terminal(pty.its, "utf-8")
    shown.show(STATUS)
    shown.evaluated(Status(**{**STATUS.as_json(), "validation": long}))
    first, second, live = pty.lines()
    assert first.startswith("epoch 3/12, step 450: validation loss 0.31, metric a 0.5,")
    assert second.startswith("  ")
    assert "metric f 0.5" in second
    assert live.startswith("epoch 3/12  ")


def test_a_message_is_broken_between_words_and_a_command_in_it_is_not(pty):
    pty.resize(40)
    pty.screen.resize(10, 40)
    shown = Terminal(pty.its, "utf-8")
    shown.show(STATUS)
    shown.say("Ctrl-C (SIGINT): saved step 12 to runs/a/checkpoints; resume with\n  python a.py")
    assert pty.lines() == [
        "Ctrl-C (SIGINT): saved step 12 to",
        "  runs/a/checkpoints; resume with",
        "  python a.py",
        line(39),
    ]


def test_in_a_narrow_terminal_a_result_has_the_epoch_alone():
    wide, narrow = (words.evaluation_line(STATUS, width) for width in (79, 59))
    assert wide == "epoch 3/12, step 450: validation loss 0.31, accuracy 0.91"
    assert narrow == "epoch 3/12: validation loss 0.31, accuracy 0.91"


def test_after_a_failure_the_live_line_stays_above_the_traceback(pty):
    shown = Terminal(pty.its, "utf-8")
    shown.show(STATUS)
    shown.close(failed=True)
    os.write(pty.its, b"Traceback\n")
    assert pty.lines() == [line(79), "Traceback"]


def test_the_line_follows_the_width(pty):
    shown = Terminal(pty.its, "utf-8")
    shown.show(STATUS)
    pty.lines()
    pty.resize(60)
    pty.screen.resize(10, 60)
    shown.screen.follow()
    assert pty.lines() == [line(59)]


def test_a_terminal_that_breaks_the_line_when_it_becomes_narrow_is_left_with_one(pty):
    shown = Terminal(pty.its, "utf-8")
    shown.show(STATUS)
    pty.lines()
    pty.resize(40)
    # As VTE and tmux do it: the rest on the next row, the cursor where it was in the text.
    pty.stream.feed(b"\r" + line(79)[:40].encode() + b"\r\n" + line(79)[40:].encode() + b"\x1b[A\r")
    shown.screen.follow()
    assert pty.lines() == [line(39)]


def test_what_is_printed_goes_above_and_a_redirected_stream_is_left_alone(pty, monkeypatch):
    shown = Terminal(pty.its, "utf-8")
    with open(os.dup(pty.its), "w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        before = sys.stderr
        handler = logging.StreamHandler(out)
        logging.getLogger("of a user").addHandler(handler)
        with above(shown.screen):
            shown.show(STATUS)
            print("printed", "in pieces", end="!\n")
            logging.getLogger("of a user").warning("logged")
            assert sys.stderr is before
            assert sys.stdout.isatty()
        assert sys.stdout is out
        assert handler.stream is out
        logging.getLogger("of a user").removeHandler(handler)
    assert pty.lines() == ["printed in pieces!", "logged", line(79)]


def test_no_color_and_ascii(pty, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = Terminal(pty.its, "ascii")
    shown.show(STATUS)
    said = os.read(pty.mine, 1 << 16)
    assert said.isascii()
    assert b"[1;3" not in said  # bold may stay
    assert b"[3" not in said.replace(b"\x1b[J", b"")


# -- marks --------------------------------------------------------------------------------------


class Heard(Lines):
    """Remembers what it was asked to show."""

    def __init__(self):
        super().__init__(None, {})
        self.calls = []

    def show(self, status):
        self.calls.append(status)

    def table(self, title, rows):
        self.calls.append((title, rows))

    def say(self, text):
        self.calls.append(text)


def test_marks_survive_any_cut_and_text_around_them_is_untouched():
    said = (
        "before\nhalf " + encode({"show": STATUS.as_json()}) + "rest\n\x1b[31mred\x1b[0m\n"
        "[1,0]<stderr>: " + encode({"close": False}) + "\x1b]7397;no mark\n"
    ).encode()
    text = b"before\nhalf rest\n\x1b[31mred\x1b[0m\n\x1b]7397;no mark\n"
    for cut in [*range(said.index(b"[1,0]")), *range(said.index(b": \x1b") + 3, len(said))]:
        reader = Reader()
        found = [*reader.feed(said[:cut]), *reader.feed(said[cut:]), reader.end()]
        assert b"".join(f for f in found if isinstance(f, bytes)) == text
        assert [f for f in found if isinstance(f, dict)] == [
            {"show": STATUS.as_json()},
            {"close": False},
        ]


def test_what_a_rank_marks_is_what_the_launcher_shows(capsys):
    marks, heard = Marks(sys.stderr), Heard()
    rows = [Row("resume", "python a.py", command=True)]
    marks.show(STATUS)
    marks.table("done", rows)
    marks.say("a word")
    said = capsys.readouterr().err.encode()
    for mark in Reader().feed(said):
        obey(heard, mark)
    assert heard.calls == [STATUS, ("done", rows), "a word"]


# -- the table and the command ------------------------------------------------------------------


def test_a_table_fits_and_its_commands_can_be_pasted():
    rows = [
        Row("time", "compute 80%, " + "waiting for others 9%, " * 4),
        Row("resume", "python train.py --name 'two words' --lr 0.001 --epochs 100", command=True),
    ]
    lines = table_lines("stopped", rows, 50)
    assert all(len(li) <= 50 for li in lines)
    command = "\n".join(lines[lines.index(next(li for li in lines if "resume" in li)) :])
    assert command.count("\\\n") == 1
    joined = command.replace("\\\n", "").removeprefix("  resume  ")
    assert joined.split() == rows[1].value.split()
    assert table_lines("stopped", rows, None)[2] == f"resume: {rows[1].value}"


def test_the_command_is_distgrads_short_name_where_the_shell_finds_it(tmp_path, monkeypatch):
    script = tmp_path / "distgrad"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    words = ["/usr/bin/python3", str(script), "run", "-n", "2", "a b.py"]
    assert typed(words) == f"{script} run -n 2 'a b.py'"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed(words) == "distgrad run -n 2 'a b.py'"
    assert typed(["python", "train.py"]) == "python train.py"


def test_distgrad_is_called_as_it_was_or_as_it_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = {"DISTGRAD_COMMAND": "'a b/bin/distgrad' run -n 3 train.py"}
    assert distgrad_command(told) == "'a b/bin/distgrad'"
    alone = {"DISTGRAD_COMMAND": "python train.py"}
    assert distgrad_command(alone) == f"{sys.executable} -m distgrad"
    (tmp_path / "distgrad").touch(0o755)
    assert distgrad_command(alone) == distgrad_command({}) == "distgrad"


def test_a_command_resumes_with_an_option_that_the_script_has(tmp_path, monkeypatch):
    script = tmp_path / "train.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # no script of others
    environ = {"DISTGRAD_COMMAND": "distgrad run -n 2 train.py"}
    script.write_text("parser.add_argument('--resume', action='store_true')")
    assert resuming(environ) == "distgrad run -n 2 train.py --resume"
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume"])
    assert resuming(environ) == "distgrad run -n 2 train.py"
    monkeypatch.setattr(sys, "argv", ["train.py"])
    script.write_text("print('no such option')")
    assert resuming(environ) == ""
