"""OR-Net on motion: whole poses over time, from a few of them (section 4.4 in kind).

``positions``: 31 joints in metres, relative to the pelvis and to the direction of the
gait; five recordings, the second walk is new. ``angles``: 68 active columns of joint
rotations (exponential maps, radians) and of the pelvis' height and turns, six walks,
one new. Both at 20 poses a second; functions are stretches of 1.2 s, all that begin at
another pose. Of new ones 3 or 6 poses are known, evenly spread, and the others are
scored: root mean square error of a number, CRPS and coverage of 80 % intervals of 50
draws. ``spread`` is how far draws without noise lie apart, also where no pose is known.

Beside it: straight lines from pose to pose; and a GRU in both directions that is given
the known poses and where they are, trained on the same stretches with random poses
hidden, mean square error, as many steps (the paper's GRU predicts pose after pose).
The paper's data (HumanAct12) is not at hand, and it gives no figures.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from common import add_common_arguments, append_line, finished_cells, load_reader, stamp
from torch import nn

from skimpute import ORNetRegressor, metrics
from skimpute.datasets import load_motion_capture

RESULTS = Path(__file__).parent / "results" / "ornet_motion.jsonl"
LENGTH, RATE = 24, 20  # poses of a stretch; per second
KNOWN = (0, 3, 6)
METHODS = ["OR-Net", "straight lines", "GRU"]


def stretches(clip, every):
    """Overlapping parts (n, LENGTH, n_numbers) of a recording."""
    starts = range(0, len(clip) - LENGTH + 1, every)
    return np.stack([clip[s : s + LENGTH] for s in starts])


def load_positions(data):
    """Recordings of positions, the new one last."""
    motion, clips = load_motion_capture(), []
    for number in (0, 2, 3, 4, 1):
        clip = motion.data[motion.clip == number]
        ahead = clip[-1, 0] - clip[0, 0]
        turn = np.arctan2(ahead[0], ahead[2])
        cos, sin = np.cos(turn), np.sin(turn)
        rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        clip = (clip - clip[:, :1] * [1, 0, 1]) @ rotation
        clips.append(clip.reshape(len(clip), -1))
    return clips


def load_angles(data):
    """Recordings of angles, the new one last."""
    path = load_reader(data).HERE / "series" / "mocap_walk_expmap.npz"
    with np.load(path) as file:
        active = file["active"].copy()
        active[:3] = False  # where on the ground
        names = [f"clip_{name}" for name in file["clip_names"]]
        step = int(file["rate_hz"]) // RATE
        return [
            file[name][::step, active].astype(np.float64)
            for name in sorted(names)[::-1]
        ]


def as_rows(functions):
    """One row per pose: time, numbers, and the number of the function."""
    n = len(functions)
    times = np.tile(np.arange(LENGTH) / RATE, n)[:, None]
    return times, functions.reshape(n * LENGTH, -1), np.repeat(np.arange(n), LENGTH)


class GRU(nn.Module):
    """Poses from known poses, in both directions of time."""

    def __init__(self, n_numbers, width=64):
        super().__init__()
        self.gru = nn.GRU(
            n_numbers + 1, width, num_layers=2, bidirectional=True, batch_first=True
        )
        self.out = nn.Linear(2 * width, n_numbers)

    def forward(self, poses, known):
        """Map poses (n, LENGTH, n_numbers) and which are known (n, LENGTH)."""
        known = known.unsqueeze(-1).to(poses)
        return self.out(self.gru(torch.cat([poses * known, known], -1))[0])


def fit_gru(train, n_steps, seed):
    """Train on random known poses; 0 to a half of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = GRU(train.shape[-1])
        train = torch.as_tensor(train, dtype=torch.float32)
        optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        for _ in range(n_steps):
            poses = train[torch.randint(len(train), (16,))]
            share = torch.rand(16, 1) * 0.5
            known = torch.rand(16, LENGTH) < share
            optimiser.zero_grad()
            nn.functional.mse_loss(module(poses, known), poses).backward()
            optimiser.step()
            schedule.step()
    return module.eval()


def straight_lines(test, known):
    """Every number drawn straight between the known poses."""
    seen = np.flatnonzero(known)
    place = np.clip(np.arange(LENGTH), seen[0], seen[-1])
    right = np.searchsorted(seen, place).clip(1, len(seen) - 1)
    share = (place - seen[right - 1]) / (seen[right] - seen[right - 1])
    left, right = test[:, seen[right - 1]], test[:, seen[right]]
    return left + share[:, None] * (right - left)


def ornet_scores(model, test, known):
    """Predictions of the other poses, and what only draws can tell."""
    times, values, groups = as_rows(test)
    seen = np.tile(known, len(test))
    x, of = times[~seen], groups[~seen]
    if known.any():
        model = model.condition(times[seen], values[seen], groups[seen])
    else:
        of = -1 - of  # functions that nobody has seen
    filled = model.predict(x, of)
    draws = np.moveaxis(model.sample_y(x, 50, random_state=0, groups=of), -1, 0)
    smooth = model.sample_y(x, 20, random_state=0, groups=of, noise=False)
    truth = values[~seen]
    return filled.reshape(len(test), -1, test.shape[-1]), {
        "crps": metrics.crps(truth, draws),
        "coverage 80": metrics.interval_coverage(truth, draws, 0.8),
        "spread": float(smooth.std(axis=-1).mean()),
    }


def run(kind, seed, arguments, done):
    """All methods on one kind of numbers."""
    clips = {"positions": load_positions, "angles": load_angles}[kind](arguments.data)
    train = np.concatenate([stretches(clip, 1) for clip in clips[:-1]])
    test = stretches(clips[-1], 3)
    middle, spread = train.mean(axis=(0, 1)), train.std(axis=(0, 1)).mean()
    for method in METHODS:
        if (kind, method, seed) in done:
            continue
        if method == "OR-Net":
            model = ORNetRegressor(
                max_epochs=arguments.steps // 100, batch_size=16, min_std=0.05,
                device="cpu", random_state=seed,
            ).fit(*as_rows(train))  # fmt: skip
        elif method == "GRU":
            model = fit_gru((train - middle) / spread, arguments.steps, seed)
        for n_known in KNOWN:
            known = np.isin(np.arange(LENGTH), np.linspace(1, 21, n_known).round())
            scores = {}
            if method == "OR-Net":
                filled, scores = ornet_scores(model, test, known)
            elif method == "GRU":
                given = torch.as_tensor((test - middle) / spread, dtype=torch.float32)
                shown = torch.as_tensor(known).expand(len(test), -1)
                with torch.no_grad():
                    filled = model(given, shown).numpy() * spread + middle
                filled = filled[:, ~known]
            elif n_known:
                filled = straight_lines(test, known)[:, ~known]
            else:
                filled = np.broadcast_to(middle, test.shape)
            error = filled - test[:, ~known]
            entry = {"table": f"{kind}, {n_known} known poses", "method": method}
            entry |= {
                "kind": kind,
                "seed": seed,
                "rmse": float(np.sqrt((error**2).mean())),
            }
            append_line(arguments.out, entry | scores | stamp())
            print(entry | scores, flush=True)


def main():
    """Run every cell that is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of functions without context
    done = finished_cells(arguments.out, ("kind", "method", "seed"))
    for seed in arguments.seeds:
        for kind in ("positions", "angles"):
            run(kind, seed, arguments, done)


if __name__ == "__main__":
    main()
