"""
How did she walk between the poses that were seen?
==================================================

A motion is a function of time whose value is a whole pose. Of a new one a few poses are
known; :class:`~skimpute.ORNetRegressor`, which has learned from other motions, fills in
the rest, and draws whole motions that go with what was seen (Feng et al. 2021, section
4.4).
"""

# %%
# Five recordings of the CMU motion capture database come with the package: two walks, a
# run and two walks over rough ground, 20 poses a second, 31 joints each. Positions are
# taken relative to the pelvis, in the direction of the gait, so that only the posture
# remains. Functions are stretches of 1.2 seconds, a step and a bit; those of the
# second walk are kept for the test.

import numpy as np
import pandas as pd

from skimpute import ORNetRegressor, metrics
from skimpute.datasets import load_motion_capture
from skimpute.plotting import plot_function, plot_skeletons

motion = load_motion_capture()
LENGTH = 24
names = list(motion.joint_names)


def stretches(clip, every):
    """Postures (n, LENGTH, 31, 3) of overlapping parts of a recording."""
    data = motion.data[motion.clip == clip]
    ahead = data[-1, 0] - data[0, 0]
    turn = np.arctan2(ahead[0], ahead[2])
    rotation = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    data = data - data[:, :1] * [1, 0, 1]  # the height of the pelvis stays
    starts = range(0, len(data) - LENGTH + 1, every)
    return np.stack([data[s : s + LENGTH] @ rotation for s in starts])


def as_rows(functions):
    """One row per pose: time, 93 numbers, and the number of the function."""
    n = len(functions)
    times = np.tile(np.arange(LENGTH) / 20.0, n)[:, None]
    return times, functions.reshape(n * LENGTH, -1), np.repeat(np.arange(n), LENGTH)


train = np.concatenate([stretches(clip, 1) for clip in (0, 2, 3, 4)])
test = stretches(1, 3)
ornet = ORNetRegressor(max_epochs=8, batch_size=16, min_std=0.05, random_state=0)
_ = ornet.fit(*as_rows(train))
print(f"{len(train)} stretches to learn from, {len(test)} new ones")

# %%
# Three poses of a new stretch are known. Between them the body has to do what bodies
# do: straight lines from pose to pose would shorten the legs.

times, values, groups = as_rows(test)
frame = np.tile(np.arange(LENGTH), len(test))
known = np.isin(frame, [1, 11, 21])
new = ornet.condition(times[known], values[known], groups[known])
mean = new.predict(times, groups)


def straight_lines(known):
    """Every number drawn straight between the poses that are known."""
    filled = np.empty_like(values)
    for function in range(len(test)):
        own, seen = groups == function, known & (groups == function)
        for column in range(values.shape[1]):
            filled[own, column] = np.interp(
                times[own, 0], times[seen, 0], values[seen, column]
            )
    return filled


shown = (groups == 2) & (frame % 3 == 0)
lines = [values, mean, straight_lines(known)]
ax = plot_skeletons(
    [line[shown].reshape(-1, 31, 3) for line in lines],
    motion.parents,
    labels=["truth", "OR-Net", "straight lines"],
)

# %%
# One number of the 93 over time, the height of the left foot, with whole motions drawn
# from the prediction: one latent vector each.

foot = 3 * names.index("lfoot") + 1
own = groups == 2
draws = new.sample_y(times[own], 8, random_state=0, groups=groups[own], noise=False)
mean_of_foot, std_of_foot = (
    part[:, foot] for part in new.predict(times[own], groups[own], return_std=True)
)
ax = plot_function(
    times[own, 0],
    mean_of_foot,
    std_of_foot,
    context=(times[own & known, 0], values[own & known, foot]),
    truth=values[own, foot],
    draws=draws[:, foot].T,
)
ax.set(xlabel="seconds", ylabel="height of the left foot, m")

# %%
# Over all new stretches, with no, three and six known poses: the error of the other
# poses, centimetres per joint; the length of the thigh as a share of the true one; how
# often intervals hold; and how far whole motions that are drawn lie apart.

import warnings

thigh = [names.index("lfemur"), names.index("ltibia")]


def thigh_length(poses):
    return np.linalg.norm(np.diff(poses.reshape(-1, 31, 3)[:, thigh], axis=1), axis=-1)


def line_of(n_known, method, filled, asked):
    error = (filled - values[asked]).reshape(-1, 31, 3)
    return {
        "known": n_known,
        "method": method,
        "error, cm": 100 * np.linalg.norm(error, axis=-1).mean(),
        "thigh": (thigh_length(filled) / thigh_length(values[asked])).mean(),
    }


rows = []
for n_known in (0, 3, 6):
    known = np.isin(frame, np.linspace(1, 21, n_known).round())
    x, y, of = times[~known], values[~known], groups[~known]
    if n_known:
        given = ornet.condition(times[known], values[known], groups[known])
    else:
        given, of = ornet, -1 - of  # functions that nobody has seen
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*without context")
        filled = given.predict(x, of)
        noisy = given.sample_y(x, 50, random_state=0, groups=of)
        whole = given.sample_y(x, 20, random_state=0, groups=of, noise=False)
    row = line_of(n_known, "OR-Net", filled, ~known)
    row["80 % holds"] = metrics.interval_coverage(y, np.moveaxis(noisy, -1, 0), 0.8)
    row["apart, cm"] = 100 * whole.std(axis=-1).mean()
    rows.append(row)
    if n_known:
        filled = straight_lines(known)[~known]
        rows.append(line_of(n_known, "straight lines", filled, ~known))
print(pd.DataFrame(rows).round(2).to_string(index=False))

# %%
# From three poses the network knows when the legs pass each other, and is nearer to the
# truth than straight lines; from six, which leave gaps of a fifth of a second, lines
# are nearer, and four recordings are too few to teach more. They are also too few for
# honest intervals: new walks differ from the known ones more than these do from each
# other, so that the 80 % intervals of single numbers hold hardly more than half of
# them. Draws lie far apart where no pose is known, and closer once three are given.
