# %% [markdown]
# # 7. Failure
#
# *Build your own data-parallel trainer, notebook 7 of 7. About 45 minutes.*
#
# A machine fails once in a few years. A thousand machines fail every day. A training that runs for weeks on many machines will
# be killed, and the question is only what is lost. In this notebook you kill things for real: a program in the middle of a
# write, and a rank in the middle of a training. At the end you can
#
# * say how often to save,
# * write a file so that a complete one exists at every moment, whatever happens,
# * resume a killed training on another number of ranks, with the same bits,
# * read what distgrad says about a rank that hangs, or that does something else than the others.

# %%
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import distgrad as dg
from distgrad import nn
from distgrad.comm import run_ranks

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## How often to save
#
# If one machine fails every $m$ seconds on average, $n$ machines fail every $M = m / n$. A checkpoint takes $\delta$ seconds, and
# we write one every $\tau$ seconds. Two things are lost: $\delta / \tau$ of the time goes into writing, and each failure throws away
# half an interval on average, $\tau / 2M$ of the time. Together
#
# $$\text{waste}(\tau) = \frac{\delta}{\tau} + \frac{\tau}{2 M}, \qquad
#   \text{smallest at } \tau = \sqrt{2 \, \delta M}$$
#
# (Young, 1974). Take the derivative and check.

# %%
DAY = 86400.0
delta, of_one = 30.0, 3 * 365 * DAY  # 30 s for a checkpoint; a machine fails every 3 years

tau = np.logspace(1.5, 5.5, 200)
plt.figure(figsize=(6, 3.2))
for n in (10, 100, 1000):
    M = of_one / n
    best = (2 * delta * M) ** 0.5
    plt.loglog(
        tau / 60,
        100 * (delta / tau + tau / (2 * M)),
        label=f"{n} machines: every {best / 60:.0f} minutes",
    )
    plt.loglog(best / 60, 100 * (2 * delta / M) ** 0.5, "ko", markersize=4)
plt.xlabel("minutes between checkpoints")
plt.ylabel("time lost, %")
plt.legend()
plt.tight_layout()
print(f"1,000 machines: a failure every {of_one / 1000 / 3600:.0f} hours")

# %% [markdown]
# ## A file that is always whole
#
# The obvious way to save is to open the file and write. Let us see what happens if the program dies on the way. The program below saves
# a new version over an old one in one of two ways. It has five places where it may be killed, and we name one. `SIGKILL` is
# what the kernel sends when memory runs out, or a batch system when the time is over: no `finally` runs, no handler.

# %%
saver = folder / "saver.py"
saver.write_text('''\
import os
import signal
import sys
from pathlib import Path

how, path, moment = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
new = b"new " * 250_000  # 1 MB


def place(number):
    """Die here if this is the moment."""
    if number == moment:
        os.kill(os.getpid(), signal.SIGKILL)


def write_in_two_parts(path):
    with open(path, "wb") as file:
        place(1)
        file.write(new[:400_000])
        file.flush()
        place(2)
        file.write(new[400_000:])
        file.flush()
        os.fsync(file.fileno())  # on the disk, not only in the memory of the kernel


def obvious():
    write_in_two_parts(path)
    place(3)


def careful():
    temporary = path.with_suffix(".tmp")
    write_in_two_parts(temporary)
    place(3)
    os.rename(temporary, path)  # one step: the name means the old file, then the new one
    place(4)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)  # so that the rename survives a power failure, too
    os.close(directory)


place(0)
{"obvious": obvious, "careful": careful}[how]()
''')

old, new = b"old " * 250_000, b"new " * 250_000
for how in ("obvious", "careful"):
    for moment in range(5):
        path = folder / "weights"
        path.write_bytes(old)
        status = subprocess.run(
            [sys.executable, saver, how, path, str(moment)], check=False
        ).returncode
        content = path.read_bytes()
        left = (
            "old"
            if content == old
            else "new"
            if content == new
            else f"DAMAGED, {len(content):,} bytes"
        )
        print(
            f"{how}, killed at place {moment}: {left}" if status else f"{how}, not killed: {left}"
        )
        assert how == "obvious" or content in (old, new)

# %% [markdown]
# The obvious way destroys the old version before it has the new one. The careful way has three parts, and the order is the safety
# argument:
#
# 1. write everything under another name,
# 2. `fsync`: wait until it is on the disk,
# 3. rename. In POSIX a rename is **atomic**: at each moment the name belongs to the old or to the new file.
#
# **Question.** What may happen if you leave out step 2 and the *power* fails (not only the process)?
#
# <details><summary>Answer</summary>
#
# The kernel may write the rename to the disk before the data. After the restart the name belongs to a file of the right length, full
# of zeros, or empty. The old one is gone.
#
# </details>
#
# ## A checkpoint
#
# distgrad writes a checkpoint that way: a folder with the arrays in safetensors files and a manifest in JSON with their SHA-256; under
# another name first, the manifest last, and one rename. It has no pickles, so that opening one runs no foreign code.

# %%
weights = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3)}
path = dg.checkpoint.save(folder / "plain", step=10, arrays={"model": weights}, meta={"epoch": 1})
dg.checkpoint.save(folder / "plain", step=20, arrays={"model": weights}, meta={"epoch": 2})
print(sorted(p.name for p in path.iterdir()))
print(json.loads((path / "manifest.json").read_text())["files"]["model"]["sha256"])

file = folder / "plain" / "step-000020" / "model.safetensors"
content = bytearray(file.read_bytes())
content[-5] ^= 1  # one bit, as a tired disk might
file.write_bytes(content)

found = dg.checkpoint.newest(
    folder / "plain", warn=lambda text: print(text.replace(f"{folder}/", ""))
)
print("taken: step", found.step)
assert found.step == 10

# %% [markdown]
# A flipped bit is found, named, and stepped over.
#
# What belongs into a checkpoint? *All that a step changes*: the weights, but also the optimizer's averages, the place in the data, the
# schedule, the counters. What is not saved starts anew, and the training is another one. (The random numbers of notebook 6
# need nothing: they have no state. That was the bonus.)
#
# ## Kill a rank
#
# Here is a training of 40 steps that saves every 10. Asked to, rank 1 kills itself at step 23. First one process trains without an
# accident: this is what must come out.

# %%
script = folder / "train.py"
script.write_text("""\
import hashlib
import os
import signal
import sys

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

world = dg.init(shards=4)
dg.manual_seed(0)
data, _ = dg.data.digits()
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
optimizer = optim.AdamW(model.parameters(), lr=1e-3)
loader = dg.data.DataLoader(data, global_batch_size=50, shuffle=True, seed=0)


def accident(state):
    if "--accident" in sys.argv and world.rank == 1 and state.step == 23:
        os.kill(os.getpid(), signal.SIGKILL)


trainer = dg.Trainer(
    model, optimizer, F.cross_entropy, checkpoint=sys.argv[1], every=10, callbacks=[accident], progress=False
)
trainer.fit(loader, max_steps=40, resume="--resume" in sys.argv)
weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
world.print(f"step {trainer.state.step}, weights {hashlib.sha256(weights).hexdigest()[:16]}")
""")


def start(*words):
    """Run a command, show what it says without the folder's name, and return (status, output)."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).replace(f"{folder}/", "").replace(str(folder), "")
    print(said)
    return done.returncode, said


status, undisturbed = start(script, folder / "undisturbed")
assert status == 0

# %%
status, _ = start("-m", "distgrad", "run", "-n", 2, script, folder / "killed", "--accident")
print("exit status", status)
print("what is left:", sorted(p.name for p in (folder / "killed").iterdir()))
assert status != 0

# %% [markdown]
# Two real processes under MPI, one of them killed as hard as can be. The job ended, with a status that is not zero, and said who
# died. (A job that *hangs* is worse than one that ends: nobody restarts it.) Steps 21, 22 and 23 are lost, the checkpoint of step 20 is there.
#
# Now resume. On **three** ranks, to make it harder.

# %%
status, resumed = start("-m", "distgrad", "run", "-n", 3, script, folder / "killed", "--resume")
assert status == 0
line = undisturbed.strip().splitlines()[-1]
assert line in resumed
print("the same bits as one process without an accident")

# %% [markdown]
# Everything in this course was needed for this line: a gradient that is a sum over shards (4), a sum whose bits do not depend on who
# computes it and random numbers without a state (6), and a checkpoint of everything (7).
#
# **Question.** Suppose the checkpoint did not hold the place in the data, and the resumed training read them from the beginning of the
# epoch. Would that be right?
#
# <details><summary>Answer</summary>
#
# It would train, and nobody would notice at once. But the first 20 batches would be seen twice and, after an epoch, the others less
# often. It is another training; the digest says so.
#
# </details>
#
# ## A rank that does not come
#
# Worse than a crash is silence. Say rank 0 does something by itself that takes long, and the others wait in a sum. After `warn_after` seconds
# distgrad says for whom they wait, in which collective, and where in their code all ranks are. The job goes on, if the rank comes back.

# %%
sleepy = folder / "sleepy.py"
sleepy.write_text("""\
import time

import numpy as np

import distgrad as dg

world = dg.init(warn_after=1.5)


def validate_on_rank_0():
    time.sleep(3)


for step in range(3):
    if world.rank == 0 and step == 2:
        validate_on_rank_0()
    world.comm.all_reduce(np.ones(1000), name="gradients")
world.print("it came back, and all went on")
""")
status, said = start("-m", "distgrad", "run", "-n", 2, sleepy)
assert status == 0
assert "gradients" in said
assert "rank 0" in said

# %% [markdown]
# (A rank that answers in time shows its own stack; of one that does not, the kernel says what it is doing.) After `timeout=` seconds, 300
# if you say nothing, the job ends and names the rank.
#
# ## A rank that does something else
#
# The third kind of failure makes no noise at all: a rank that trains something else. Another version of the code on one machine, another
# seed, another model. Sums of different things are numbers, too. distgrad compares, and names what and who:


# %%
def another_model():
    world = dg.init()
    model = nn.Linear(64, 10 if world.rank < 2 else 11)
    dg.DistributedDataParallel(model)


try:
    run_ranks(3, another_model)
    raise AssertionError("nobody noticed")
except dg.MismatchError as error:
    print(error)

# %% [markdown]
# | failure | who notices | how fast | what you do |
# |---|---|---|---|
# | a rank is killed | the launcher, and the ranks that wait for it | at once | start it again, with `fit(…, resume=True)` |
# | a rank hangs | those that wait, after `warn_after` | 30 s | read the stacks |
# | a rank does something else | a comparison before the sum | at once | read what and who |
# | a file is damaged | its SHA-256, when it is read | at the resume | nothing: an older one is taken |
#
# ## Exercise: the newest one that is whole
#
# A folder has checkpoints `step-…`, each a folder with a file `data` and a file `sha256` with the digest of `data` in hexadecimal. A write that
# was killed may have left anything: a folder whose name ends with `.tmp`, one without `sha256`, one whose data are cut off. Return the
# path of the newest checkpoint that is whole, or None.
#
# Mind the names: `step-9` comes before `step-10`, but not in the alphabet.


# %% exercise
def newest_whole(folder):
    """Return the Path of the checkpoint in ``folder`` (a Path) with the largest step that is whole."""
    return None  # your lines


# %% check
def check_newest():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)

        def write(name, data, digest=None):
            (root / name).mkdir()
            (root / name / "data").write_bytes(data)
            digest = hashlib.sha256(data).hexdigest() if digest is None else digest
            if digest:
                (root / name / "sha256").write_text(digest)

        assert newest_whole(root) is None, "an empty folder has no checkpoint: return None"
        write("step-9", b"nine")
        found = newest_whole(root)
        assert found is not None, "step-9 is whole, and you return None: write your lines"
        assert found == root / "step-9", f"return its path, {root / 'step-9'}, not {found!r}"
        write("step-10", b"ten")
        found = newest_whole(root)
        assert found.name == "step-10", (
            f"{found.name} is older than step-10: compare the steps as numbers"
        )
        whole = hashlib.sha256(b"eleven, whole").hexdigest()
        write("step-11", b"eleven, wh", whole)
        found = newest_whole(root)
        assert found.name != "step-11", (
            "the data of step-11 are cut off, their SHA-256 is not what the file says"
        )
        write("step-12.tmp", b"twelve")
        try:
            found = newest_whole(root)
        except ValueError as error:
            raise AssertionError(
                f"step-12.tmp was never finished: step over it ({error})"
            ) from None
        assert found.name != "step-12.tmp", (
            "step-12.tmp was never renamed, so it was never finished"
        )
        write("step-13", b"thirteen", "")
        try:
            found = newest_whole(root)
        except FileNotFoundError as error:
            raise AssertionError(
                f"step-13 has no sha256: that is a damaged one, step over it ({error})"
            ) from None
        assert found.name == "step-10", f"the newest whole one is step-10, not {found.name}"
    print("Right. That is what a resume begins with.")


check_newest()


# %% solution
def newest_whole(folder):
    steps = [p for p in folder.iterdir() if p.name.removeprefix("step-").isdigit()]
    for path in sorted(steps, key=lambda p: int(p.name.removeprefix("step-")), reverse=True):
        try:
            data, digest = (path / "data").read_bytes(), (path / "sha256").read_text()
        except OSError:
            continue  # not all of it is there
        if hashlib.sha256(data).hexdigest() == digest.strip():
            return path
    return None


# %% [markdown]
# ## The end
#
# You have built an engine, a ring, buckets that overlap, sums and random numbers that keep their bits, and checkpoints that survive. distgrad
# is these seven notebooks, with more operations, faster, and with more errors named. You know your way around in it now:
# [docs/one-step.md](../one-step.md) walks a step through its files. Put a breakpoint somewhere.
