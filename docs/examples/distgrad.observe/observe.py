"""Examples of distgrad.observe."""

import tempfile
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import nn, observe
from distgrad.nn import functional as F

folder = Path(tempfile.mkdtemp(), "a")

# Examples

# Run, read_run, RunRecord: a folder that keeps what a training did and was
with observe.Run(folder, configuration={"lr": 0.1}, plots=False) as run:
    for step in range(1, 4):
        run.log(step, {"loss": 1 / step})
found = observe.read_run(folder)
print(isinstance(found, observe.RunRecord), found.configuration, found.parts[0].last_step)
found.series("loss")


# Logger: two methods, and one's own hears of a run
class Listed:
    def __init__(self):
        self.told = []

    def log_hyperparams(self, params):
        self.told.append(dict(params))

    def log_metrics(self, metrics, step):
        self.told.append((step, dict(metrics)))


logger: observe.Logger = Listed()
with observe.Run(folder, loggers=[logger], plots=False) as run:
    run.log(1, {"loss": 0.5})
logger.told[-1]

# TensorBoardLogger: with the extra tensorboard; without it the error says what to install
try:
    logger = observe.TensorBoardLogger(folder)
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.finalize("success")
    print([path.name.split(".")[2] for path in folder.iterdir()])
except dg.DistgradError as error:
    print(error)

# Problem: a layer that gets no gradient is found and named
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
model[0].bias.data = dg.full((8,), -100.0)  # no unit of the first layer is ever active
ddp = dg.DistributedDataParallel(model)
health = dg.GradientHealth(model, every=1)
for _ in range(4):
    model.zero_grad()
    ddp.backward(F.cross_entropy(model(np.ones((4, 8), "f4")), np.array([0, 1, 0, 1])))
    health.observe()
print(health.problems[0])
isinstance(health.problems[0], observe.Problem)

# Progress: the Trainer's live line
with observe.Progress(rank=0, total=4, per_epoch=2, visible=False) as progress:
    for step in range(4):
        progress.step(epoch=step // 2, numbers={"loss": 0.5 / (1 + step)})
    losses = [*progress.evaluating([0.5, 0.3], total=2)]  # "validating 1/2", if it takes long
    progress.evaluated({"loss": sum(losses) / 2})
progress.status().epochs

# profile, span: what each rank does, and when; a file for Perfetto, and where the time went
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
ddp = dg.DistributedDataParallel(model)
optimizer = dg.optim.SGD(model.parameters(), lr=0.1)
with observe.profile(folder / "timeline") as timeline:
    for _ in range(3):
        with observe.span("my preparation"):
            x = np.ones((4, 8), "f4")
        optimizer.zero_grad()
        ddp.backward(F.cross_entropy(model(x), np.array([0, 1, 0, 1])))
        optimizer.step()
print(sorted(path.name for path in (folder / "timeline").iterdir()))
timeline.summary().splitlines()[0].split(":")[0]
