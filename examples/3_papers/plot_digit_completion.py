"""
How much of a picture is needed to see the rest of it?
======================================================

An image with missing pixels is a row of a table whose columns have places.
:class:`~skimpute.ConvCNPImputer` learns what small pictures look like around their
known pixels (Gordon et al. 2020, section 5.4 and appendix D), whatever share of them is
known, and says how sure it is of every pixel.
"""

# %%
# scikit-learn's digits are 1,797 pictures of 8 x 8 pixels, one per row. The last 297
# are kept for the test; of the others half of the pixels is missing, as they would be
# in data of one's own.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer

from skimpute import ConvCNPImputer, metrics
from skimpute.masks import MCAR
from skimpute.plotting import plot_images

digits = load_digits().data
train, test = digits[:1500], digits[1500:]
train = MCAR(0.5).hide(train, random_state=0)

imputer = ConvCNPImputer(
    grid_shape=(8, 8), center_columns=True, max_epochs=12, random_state=0
)
imputer.fit(train)

# %%
# The same twelve test pictures with 5, 20 and 50 % of their pixels: what is known
# (missing pixels are blue), the mean of what the network believes, and its standard
# deviation. Few pixels give a blurred and doubtful picture; with every further one
# doubt withdraws to where nothing is known yet.

shown = test[:12]
lines, labels = [], []
for share in (0.05, 0.2, 0.5):
    holes = MCAR(1 - share).hide(shown, random_state=1)
    cells = imputer.predict_distribution(holes)
    lines += [holes, imputer.transform(holes), 2 * np.nan_to_num(cells.std.to_numpy())]
    labels += [f"{share:.0%} known", "mean", "2 sd"]
plot_images([*lines, shown], (8, 8), labels=[*labels, "truth"], vmin=0, vmax=16)

# %%
# Numbers, on all test pictures and hidden pixels, in grey levels from 0 to 16. The
# nearest neighbours of scikit-learn are the baseline; they give no uncertainty, so
# their CRPS is their mean absolute error.

neighbours = KNNImputer(n_neighbors=10).fit(train)
print("known  method      RMSE   CRPS   80 % interval   95 % interval")
for share in (0.05, 0.2, 0.5, 0.8):
    holes = MCAR(1 - share).hide(test, random_state=2)
    hidden = np.isnan(holes)
    draws = imputer.sample(holes, 100, random_state=0)
    crps = metrics.crps(test, draws, where=hidden)
    cover = [
        metrics.interval_coverage(test, draws, level=level, where=hidden)
        for level in (0.8, 0.95)
    ]
    rmse = np.sqrt(np.mean((imputer.transform(holes) - test)[hidden] ** 2))
    print(
        f"{share:4.0%}   ConvCNP     {rmse:.2f}   {crps:.2f}"
        f"   {cover[0]:13.0%}   {cover[1]:13.0%}"
    )
    errors = (neighbours.transform(holes) - test)[hidden]
    print(
        f"       neighbours  {np.sqrt(np.mean(errors**2)):.2f}"
        f"   {np.abs(errors).mean():.2f}"
    )

# %%
# A larger canvas
# ---------------
#
# The network never knew how large a picture is. ``with_grid`` gives it another
# canvas; the columns' means must be left alone for that, since the new columns have
# none. Here four digits of the test set stand on one canvas of 16 x 16, with 40 % of
# its pixels. Circular padding, which shows the network no borders, is what the paper
# takes for this; ``raw_channels=False`` is its network too.

import matplotlib.pyplot as plt

equivariant = ConvCNPImputer(
    grid_shape=(8, 8),
    padding_mode="circular",
    raw_channels=False,
    max_epochs=8,
    random_state=0,
).fit(train)
four = test[:24].reshape(6, 2, 2, 8, 8).transpose(0, 1, 3, 2, 4).reshape(6, 256)
holes = MCAR(0.6).hide(four, random_state=3)
completed = equivariant.with_grid((16, 16)).transform(holes)
plot_images(
    [holes, completed, four],
    (16, 16),
    labels=["40 % known", "mean", "truth"],
    vmin=0,
    vmax=16,
)

# %%
# The first filter
# ----------------
#
# The first thing that the network does is to average the known pixels around each place
# with a learned positive filter. In the paper's pictures it comes to look like the
# exponentiated quadratic that is used off the grid (Fig. 13). In pictures of 8 x 8
# pixels it shrinks from its wide start to the nearest pixels.

figure, axes = plt.subplots(1, 2, figsize=(6, 2.8), layout="constrained")
learned = equivariant.module_.field.first_filter[0].numpy()
picture = axes[0].imshow(learned, cmap="viridis")
figure.colorbar(picture, ax=axes[0])
axes[0].set_title("learned filter", loc="left")
axes[1].plot(np.arange(-4, 5), learned[4], "o-", label="row through the middle")
axes[1].plot(np.arange(-4, 5), learned[:, 4], "s--", label="column")
axes[1].set_xlabel("pixels from the middle")
axes[1].legend(frameon=False, fontsize=8)
plt.show()

# %%
# Up to a fifth of the pixels known, the network is nearer to the truth than the
# neighbours; beyond that they are ahead in RMSE, since they look at the same places
# of other digits, and the network, which only looks around each place, does not know
# where on the canvas it is. Its CRPS is the lower one throughout, and its intervals
# hold what they promise and a little more. The draws are independent pixel by pixel;
# for pictures that hang together see the imputers with a latent code.
