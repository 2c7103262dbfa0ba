"""REINFORCE learns to balance a pole on a cart.

Williams (1992), on the cart-pole of Barto, Sutton & Anderson (1983) without friction, in steps of
0.02 s and 500 steps at most. This task, CartPole-v1 in Gym, counts as solved at a mean return of
475 over 100 episodes. Every shard plays episodes of its own, so more ranks play more at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.distributions import Categorical

LONGEST = 500  # steps of an episode


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16, help="episodes of all ranks")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=25, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw what was learnt: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, state: Tensor) -> Categorical:
        return Categorical(logits=self.network(state))


def push(state: Any, right: Any) -> Any:
    """States (n, 4) after 0.02 s with 10 N to the right, or to the left: x, ẋ, θ, θ̇ in m and rad.

    A cart of 1 kg, a pole of 0.1 kg and 1 m; one step of Euler's method.
    """
    _, v, angle, spin = state.T
    force, sin, cos = np.where(right, 10.0, -10.0), np.sin(angle), np.cos(angle)
    g, mass, pole, half = 9.8, 1.1, 0.1, 0.5
    pull = (force + pole * half * spin**2 * sin) / mass
    turning = (g * sin - cos * pull) / (half * (4 / 3 - pole * cos**2 / mass))
    rate = [v, pull - pole * half * turning * cos / mass, spin, turning]
    return state + 0.02 * np.stack(rate, axis=1)


def play(policy: Policy, n: int, *, greedy: bool = False) -> tuple[Tensor, ...]:
    """Play n episodes: states (t, n, 4), actions (t, n), and 1 where an episode still ran."""
    state, alive = dg.rand(n, 4).numpy() * 0.1 - 0.05, np.ones(n, bool)
    states, actions, running = [], [], []
    while alive.any() and len(states) < LONGEST:
        with dg.no_grad():
            choice = policy(dg.tensor(state, dtype=dg.float32))
            action = choice.probs.argmax(dim=-1) if greedy else choice.sample()
        states.append(state)
        actions.append(action.numpy())
        running.append(alive)
        state = push(state, actions[-1] == 1)
        alive = alive & (abs(state[:, 0]) < 2.4) & (abs(state[:, 2]) < math.radians(12))
    return dg.tensor(states).float(), dg.tensor(actions), dg.tensor(running).float()


def returns(running: Tensor, discount: float = 0.99) -> Tensor:
    """What is still to come at each step (t, n), with a reward of 1 for each that is played."""
    found = [dg.zeros(running.shape[1])]
    for reward in reversed(running):
        found.append(reward + discount * found[-1])
    return dg.stack(found[:0:-1])


def surprise(policy: Policy, n: int) -> tuple[Tensor, float]:
    """The loss of n new episodes, and the steps that they lasted, summed."""
    states, actions, running = play(policy, n)
    gain = returns(running)
    played = running > 0
    advantage = (gain - gain[played].mean()) / (gain[played].std() + 1e-6)
    loss = -(policy(states).log_prob(actions) * advantage * running).sum() / n
    return loss, running.sum().item()


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(world: dg.World, policy: Policy) -> float:
    """Mean return of 100 episodes, the same ones each time, with the likelier action."""
    total = dg.ShardSum(world, "steps")
    for batch in dg.data.DataLoader(range(100), 100):
        for (episodes,) in batch.shards:
            _, _, running = play(policy, len(episodes), greedy=True)
            total.add(steps=running.sum().item())
    return total.result()["steps"] / 100


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    # No data: a batch is the numbers of its episodes, which the shards share out.
    loader = dg.data.DataLoader(range(args.batch_size), args.batch_size, seed=args.seed)
    policy = Policy()
    optimizer = optim.Adam(policy.parameters(), lr=args.lr)
    ddp = dg.DistributedDataParallel(policy)
    first, curve, played = 0, [], []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        policy.load_state_dict(saved["policy"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first, curve, played = saved["step"], saved["curve"], saved["played"]

    batches = forever(loader)
    with dg.observe.Run(args.run, model=policy, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            lasted = dg.ShardSum(world, "steps")
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for (episodes,) in next(batches).shards:
                        loss, steps = surprise(policy, len(episodes))
                        ddp.backward(loss / args.accumulate)
                        lasted.add(steps=steps)
            optimizer.step()
            played.append(lasted.result()["steps"] / args.batch_size / args.accumulate)
            run.log(step, {"return": played[-1]})
            if step % args.every == 0 or step == args.steps:
                curve.append([step, test(world, policy)])
                run.log(step, {"validation/return": curve[-1][1]})
                world.print(f"step {step}: mean return {curve[-1][1]:.1f} of 100 greedy episodes")
                if args.checkpoint:
                    saved = {
                        "policy": policy.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                        "curve": curve,
                        "played": played,
                    }
                    dg.save(saved, args.checkpoint)

    world.print(f"sha256 {nn.state_sha256(policy.state_dict())}")
    if args.plot and world.rank == 0:
        draw(args, policy, curve, played)


def draw(args: argparse.Namespace, policy: Policy, curve: Any, played: Any) -> None:
    """The returns over all episodes, and position and angle in one of them."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    x, _, angle, _ = play(policy, 1, greedy=True)[0][:, 0].T.numpy()
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    episodes = args.batch_size * args.accumulate
    left.plot(episodes * np.arange(1, len(played) + 1), played, label="while it learns")
    left.plot(*(np.array(curve) * [episodes, 1]).T, "o", label="greedy, mean of 100")
    left.axhline(475, color="gray", linestyle="--", label="solved")
    left.set(title="Return", xlabel="episodes", ylabel="steps before the pole falls")
    left.legend()
    seconds = 0.02 * np.arange(len(x))
    right.plot(seconds, x, color="tab:blue")
    right.set(title="One greedy episode", xlabel="time (s)", ylim=(-2.4, 2.4))
    right.set_ylabel("position (m)", color="tab:blue")
    other = right.twinx()
    other.plot(seconds, np.degrees(angle), color="tab:red", linewidth=0.8)
    other.set_ylim(-12, 12)
    other.set_ylabel("angle (degrees)", color="tab:red")
    figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    main()
