"""
How can the arm reach that place?
=================================

An arm of two links has two ways to bring its hand to a place, the elbow up or down. The
joint angles in between bring it somewhere else: the mean of right answers is a wrong
one. :class:`~skimpute.CGMLRegressor` (Ramasinghe et al. 2021) learns from examples to
give one or the other.
"""

# %%
# Examples of poses
# -----------------
# The features are where the hand is, the targets the angles of shoulder and elbow,
# known up to 0.03 radians. Three times in four the elbow is bent to the left.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import RandomForestRegressor

from skimpute import CGMLRegressor

rng = np.random.default_rng(0)


def draw_poses(n):
    reach, turn = rng.uniform(0.6, 1.8, size=n), rng.uniform(0.3, 2.8, size=n)
    elbow = np.where(rng.random(n) < 0.75, 1, -1) * 2 * np.arccos(reach / 2)
    angles = np.stack([turn - elbow / 2, elbow], axis=1)
    places = reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return places, angles + 0.03 * rng.normal(size=angles.shape)


def joints(angles):
    """Shoulder, elbow and hand, (..., 3 joints, 2)."""
    heading = np.cumsum(angles, axis=-1)
    links = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    shoulder = np.zeros_like(links[..., :1, :])
    return np.concatenate([shoulder, links.cumsum(axis=-2)], axis=-2)


places, angles = draw_poses(3000)
arm = CGMLRegressor(max_epochs=60, device="cpu", random_state=0).fit(places, angles)
forest = RandomForestRegressor(random_state=0).fit(places, angles)

# %%
# Draws are poses
# ---------------
# Each row of the picture is another place to reach (the cross). Draws come with the
# elbow on either side, ``predict`` gives one pose, and the mean of the forest misses.

asked = np.array([[0.9, 0.6], [-0.4, 1.4]])
drawn = np.moveaxis(arm.sample_y(asked, 30, random_state=0), -1, 1)
answers = {
    "30 draws": drawn,
    "predict": arm.predict(asked)[:, None],
    "mean (forest)": forest.predict(asked)[:, None],
}
fig, axes = plt.subplots(
    2, 3, figsize=(9, 5.5), sharex=True, sharey=True, layout="constrained"
)
for row, place in enumerate(asked):
    for ax, (name, poses) in zip(axes[row], answers.items(), strict=True):
        faint = len(poses[row]) ** -0.3
        for pose in joints(poses[row]):
            ax.plot(*pose.T, "-o", color="C0", ms=3, alpha=faint)
        ax.plot(*place, "x", color="C3", ms=10, mew=2, zorder=3)
        ax.set(aspect="equal", title=name if row == 0 else "")
axes[0, 0].set(xlim=(-1.8, 2.0), ylim=(-0.8, 1.9))

# %%
# How far off, and how often which
# --------------------------------
# For new places: how far the hand is from where it should be, in lengths of a link, and
# how often the elbow is bent to the left.

new_places, _ = draw_poses(300)
drawn = np.moveaxis(arm.sample_y(new_places, 20, random_state=0), -1, 0)
for name, poses in {
    "draws": drawn,
    "predict": arm.predict(new_places),
    "mean (forest)": forest.predict(new_places),
}.items():
    off = np.linalg.norm(joints(poses)[..., -1, :] - new_places, axis=-1)
    left = (poses[..., 1] > 0).mean()
    print(f"{name:14s} off by {np.median(off):.2f}, elbow to the left {left:.0%}")

# %%
# ``modes`` lists the answers to one question, with their shares.

for answer in arm.modes(asked[:1], tol=0.5):
    print("angles", answer.y[:2].round(2), "shares", answer.shares[:2].round(2))

plt.show()
