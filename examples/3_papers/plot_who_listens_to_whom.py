"""
Which pixels did this one listen to?
====================================

:class:`~skimpute.ORNetImputer` infers a missing pixel from the known ones around it:
these send messages of what they are and where they lie, and the missing one weighs them
(Feng et al. 2021, sections 3.3 and 4.3, Figure 7). Here digits are completed from more
and more pixels, and the weights are drawn.
"""

# %%
# scikit-learn's digits, 8 x 8 pixels; the last 297 of 1,797 are kept for the test. A
# short training of half a minute; the default takes four times as long.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer

from skimpute import ORNetImputer, metrics
from skimpute.masks import MCAR
from skimpute.plotting import plot_images

digits = load_digits().data
train, test = digits[:1500], digits[1500:]
imputer = ORNetImputer(
    grid_shape=(8, 8), center_columns=True, max_epochs=10, random_state=0
)
_ = imputer.fit(train)

# %%
# The same ten digits with 5, 20 and 50 % of their pixels known: what is known (missing
# pixels are blue), the mean, and a draw of a latent vector and of the noise of each
# pixel.

shown = test[:10]
lines, labels = [], []
for share in (0.05, 0.2, 0.5):
    holes = MCAR(1 - share).hide(shown, random_state=1)
    draw = imputer.sample(holes, 1, random_state=0)[0]
    lines += [holes, imputer.transform(holes), draw]
    labels += [f"{share:.0%} known", "mean", "draw"]
plot_images([*lines, shown], (8, 8), labels=[*labels, "truth"], vmin=0, vmax=16)

# %%
# Who was heard
# -------------
#
# ``attention_weights`` tells how much each known pixel counted for one place, here the
# one with a cross. The weights are those of the nearest known pixels, eight at most,
# and what is short of one went to a message of nobody in particular.

place = 3 * 8 + 4
holes = MCAR(0.7).hide(shown, random_state=2)
holes[:, place] = np.nan
weights = imputer.attention_weights(holes, place)
figure, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
for column, ax in enumerate(axes.T):
    for picture, panel in ((holes[column], ax[0]), (weights[column], ax[1])):
        picture = np.ma.masked_invalid(picture.reshape(8, 8))
        greatest = 16 if panel is ax[0] else weights.max()
        colours = "gray" if panel is ax[0] else "magma"
        panel.set_facecolor("#9fb8d0")
        panel.imshow(picture, cmap=colours, vmin=0, vmax=greatest)
        panel.plot(4, 3, "x", color="#e0523f", ms=8, mew=2)
        panel.set(xticks=[], yticks=[])
    ax[1].set_xlabel(f"nobody: {1 - weights[column].sum():.0%}", fontsize=8)
axes[0, 0].set_ylabel("known")
axes[1, 0].set_ylabel("weights")
plt.show()

# %%
# Numbers over all test digits, in grey levels from 0 to 16, beside the nearest
# neighbours of scikit-learn, which know 1,500 digits by heart and say nothing of how
# sure they are: their CRPS is their absolute error.

neighbours = KNNImputer(n_neighbors=10).fit(train)
print("known  method      RMSE   CRPS   80 % interval")
for share in (0.05, 0.2, 0.5):
    holes = MCAR(1 - share).hide(test, random_state=2)
    hidden = np.isnan(holes)
    draws = imputer.sample(holes, 100, random_state=0)
    crps = metrics.crps(test, draws, where=hidden)
    cover = metrics.interval_coverage(test, draws, 0.8, where=hidden)
    ours = (imputer.transform(holes) - test)[hidden]
    theirs = (neighbours.transform(holes) - test)[hidden]
    print(f"{share:4.0%}   OR-Net      {np.sqrt(np.mean(ours**2)):.2f}", end="")
    print(f"   {crps:.2f}   {cover:13.0%}")
    print(f"       neighbours  {np.sqrt(np.mean(theirs**2)):.2f}", end="")
    print(f"   {np.abs(theirs).mean():.2f}")

# %%
# Where a known pixel lies next to the cross, it is heard, and pixels farther off
# hardly; where none does, all of them are heard a little, and nobody in particular the
# most: the mean over all digits is the better guess then. With few known pixels the
# draws differ as whole digits do, but pixel by pixel too, for the latent vector
# explains only a part of what they have in common. In RMSE the neighbours are ahead,
# which look at the same places of other digits; in CRPS the network is, until half is
# known.
