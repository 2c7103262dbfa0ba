"""Makes docs/images/report*.png: trains two runs on 3 ranks and takes pictures of their report.

python docs/make_report_image.py     # half a minute; needs mpirun, Chromium and Pillow
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from browser import Browser  # noqa: E402 (it is found there)

JOB = '''
"""Digits, at the learning rate and with the nap of rank 1 (s a step) that the words say."""
import sys
import time

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

folder, rate, nap = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
world = dg.init(shards=4)
dg.manual_seed(0)
train, test = dg.data.digits()
widths = [64, 128, 128, 96, 64]
layers = [nn.Flatten()]
for inputs, outputs in zip(widths, widths[1:]):
    layers += [nn.Linear(inputs, outputs), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(64, 10))
optimizer = optim.AdamW(model.parameters(), lr=rate)
loader = dg.data.DataLoader(train, global_batch_size=32, shuffle=True, seed=0)
steps = 30 * len(loader)
trainer = dg.Trainer(
    model,
    optimizer,
    F.cross_entropy,
    schedule=optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps),
    metrics={"accuracy": dg.accuracy},
    callbacks=[
        dg.observe.GradientHealth(model, every=5),
        lambda state: time.sleep(nap if world.rank == 1 else 0),
    ],
    run=dg.observe.Run(folder, configuration={"rate": rate}),
    log_every=1,
)
held_out = dg.data.DataLoader(test, global_batch_size=64)
trainer.fit(loader, epochs=30, evaluate=held_out)
'''


def main() -> None:
    """Train, report, take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text(JOB)
        for name, rate, nap in (("rate-0.01", 1e-2, 0.0), ("rate-0.0006", 6e-4, 0.01)):
            distgrad(folder, "run", "-n", "3", "train.py", f"runs/{name}", str(rate), str(nap))
        distgrad(folder, "report", "runs/rate-0.01", "runs/rate-0.0006", "-o", "both.html")
        distgrad(folder, "report", "runs/rate-0.0006", "-o", "one.html")
        with Browser(1240, 1010) as browser:
            browser.open(Path(folder, "both.html"))
            keep(browser, "report.png")
            browser.open(Path(folder, "one.html"))
            keep(browser, "report-gradients.png", "#gradients figure")
            keep(browser, "report-time.png", "#time")


def distgrad(folder: str, *words: str) -> None:
    """Run a verb in a folder."""
    subprocess.run([sys.executable, "-m", "distgrad", *words], cwd=folder, check=True)


def keep(browser: Browser, name: str, part: str | None = None) -> None:
    """Take a picture of the window, or of a part of the page, in few colours: it stays small."""
    path = HERE / "images" / name
    browser.picture(path, part=part)
    Image.open(path).convert("RGB").quantize(255).save(path, optimize=True)


if __name__ == "__main__":
    main()
