"""Examples of distgrad.train: what a stop criterion and a saved object have to offer."""

import distgrad as dg
from distgrad import optim, train

# Examples


# StopCriterion: one of one's own
class LossBelow:
    def __init__(self, value):
        self.value = value

    def check(self, state):
        return f"loss below {self.value}" if state.loss < self.value else None

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


criterion: train.StopCriterion = LossBelow(0.5)
criterion.check(train.TrainState(loss=0.4))

# Stateful: what `also_saved` takes
average: train.Stateful = optim.ExponentialMovingAverage([dg.ones(2)], decay=0.9)
sorted(average.state_dict())

# LRFind: loss over rising learning rates, as Trainer.lr_find returns it
rates = [10 ** (i / 10 - 5) for i in range(50)]
losses = [2.3 - 1.5 / (1 + (3e-3 / rate) ** 2) + 4 * rate**2 for rate in rates]
found = train.LRFind(rates, losses)
round(found.suggestion(), 4)
