"""Draw what VAEAC and others make of holes in pictures: results/vaeac_images.png.

With the models that ``vaeac_images.py`` has left behind: digits of which three rows of
pixels are known, after five epochs (``--parts line --epochs 5``), and faces and
characters with their centre or a half hidden. Three draws of each model of
digits; of the others two of VAEAC, one of each other. Draws have the noise of pixels.
"""

import argparse

import joblib
import matplotlib.pyplot as plt
import numpy as np
from common import add_common_arguments
from vaeac_images import FIELDS, LINE, MODELS, RESULTS, binarised, holes_of, pictures

from skimpute.masks import Line
from skimpute.plotting import plot_images

N = 8


def load(name):
    """A fitted model of the benchmark."""
    path = MODELS / f"{name}.joblib"
    if not path.exists():
        raise SystemExit(f"No model at {path}: run vaeac_images.py first.")
    return joblib.load(path)[0]


def lines_of_digits(data):
    """Digits, what is known of them, and draws of each model."""
    truth = binarised(data, 1)[2][:N]
    holes = Line((28, 28)).hide(truth, random_state=0)
    lines, labels = [truth, holes], ["truth", "known"]
    for name in LINE:
        lines += list(load(f"line-{name}-5-1-60000-0").sample(holes, 3, random_state=0))
        labels += [name, "", ""]
    return lines, labels, (28, 28)


def lines_of(part, data):
    """Pictures, and for two kinds of holes draws of each model."""
    _, test, shape = pictures(part, data)
    truth = test[np.linspace(0, len(test) - 1, N).astype(int)]
    lines, labels = [truth], ["truth"]
    for name in ("centre", "half"):
        holes = holes_of(shape)[name].hide(truth, random_state=0)
        lines, labels = [*lines, holes], [*labels, name]
        for method in FIELDS:
            n_draws = 2 if method == "VAEAC" else 1
            draws = load(f"{part}-{method}-0").sample(holes, n_draws, random_state=0)
            lines += list(draws)
            labels += [method] + [""] * (n_draws - 1)
    return lines, labels, shape


def main():
    """Draw the three columns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, RESULTS)
    data = parser.parse_args().data
    columns = [
        lines_of_digits(data),
        *(lines_of(p, data) for p in ("faces", "omniglot")),
    ]
    fig, axes = plt.subplots(1, 3, figsize=(15, 6.6), layout="constrained")
    for ax, (lines, labels, shape) in zip(axes, columns, strict=True):
        plot_images(lines, shape, labels=labels, vmin=0, vmax=1, ax=ax)
    fig.savefig(RESULTS.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
