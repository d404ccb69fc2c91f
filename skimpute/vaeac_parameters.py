"""What the parameters of VAEACImputer make of its networks, and what they cannot."""

import math

import numpy as np
import torch

from skimpute.image_masks import image_shape
from skimpute.nn.bins import bins_in_use
from skimpute.nn.vaeac import VAEAC

_WIDEST_BACKBONE = 150
_BINS_OF_A_ROW, _FEWEST_BINS, _MOST_BINS = 1500, 8, 32  # of n_bins="auto"


def build_module(p, n_categories, n_bins, most_bins):
    """Networks of an imputer's parameters, for columns of these kinds.

    Parameters
    ----------
    p : VAEACImputer
    n_categories : ndarray of shape (n_columns,), int
        0 for a number.
    n_bins, most_bins : int
        From :func:`count_bins`.

    Returns
    -------
    module : VAEAC

    Raises
    ------
    ValueError
        If the parameters do not go together, or not with the table.
    """
    _refuse(p, n_categories)
    narrow = np.maximum(n_categories, 1).sum() <= _WIDEST_BACKBONE
    likelihood, embedding = likelihood_of(p), embedding_of(p)
    gaussian = p.grid_shape is None and likelihood != "bernoulli"
    backbone = p.backbone == "gaussian" or (
        p.backbone == "auto" and narrow and gaussian
    )
    kl_warmup = p.kl_warmup
    if kl_warmup == "auto":  # with the backbone the code is in use from the start
        kl_warmup = 0.0 if backbone else 0.5
    module = VAEAC(
        n_categories,
        p.latent_dim,
        p.width,
        p.depth if p.grid_shape is None else p.n_blocks,
        grid_shape=p.grid_shape,
        n_channels=p.n_channels,
        likelihood=likelihood,
        sigma=p.sigma,
        min_sigma=p.min_sigma,
        alpha=p.alpha if p.variant == "vaeac" else 0.0,
        sample_latent=p.variant not in ("nn", "um"),
        sigma_mu=p.sigma_mu,
        sigma_sigma=p.sigma_sigma,
        kl_warmup=kl_warmup,
        backbone=backbone,
        copula=p.copula,
        n_bins=n_bins,
        most_bins=most_bins,
        embedding=embedding,
        n_members=p.n_models,
        n_importance=p.n_validation_importance,
        validation_score=validation_score_of(p),
    )
    module.in_turn = p.variant == "um"
    module.n_categories, module.asked_bins = n_categories, _most_bins(p, n_categories)
    return module


def likelihood_of(p):
    """What ``likelihood="auto"`` stands for."""
    if p.likelihood != "auto":
        return p.likelihood
    plain = p.grid_shape is not None or p.sigma == "fixed"
    return "gaussian" if plain else "binned"


def embedding_of(p):
    """What ``embedding="auto"`` stands for."""
    if p.embedding != "auto":
        return p.embedding
    return likelihood_of(p) == "binned"


def validation_score_of(p):
    """What ``validation_score="auto"`` stands for."""
    if p.validation_score != "auto":
        return p.validation_score
    binned, few = likelihood_of(p) == "binned", p.n_validation_importance < 2
    certain = few or p.variant in ("nn", "um")
    return "crps" if binned and not certain else "log_prob"


def schedule_of(p):
    """What ``learning_rate_schedule="auto"`` stands for."""
    if p.learning_rate_schedule != "auto":
        return p.learning_rate_schedule
    return "averaged" if p.grid_shape is None else "cosine"


def count_bins(p, n_categories, table):
    """Bins that the networks have, and how many to look for.

    None that would be empty in every column; but networks that go on from a fit to the
    next one keep their size.

    Parameters
    ----------
    p, n_categories
        As in :func:`build_module`.
    table : ndarray of shape (n_rows, n_columns)
        Standardised rows, NaN where there is a gap.

    Returns
    -------
    n_bins, most_bins : int
    """
    most = _most_bins(p, n_categories)
    numbers = torch.as_tensor(table[:, n_categories == 0], dtype=torch.float32)
    if not numbers.numel() or not (likelihood_of(p) == "binned" or embedding_of(p)):
        return most, most
    known = ~torch.isnan(numbers)
    in_use = bins_in_use(torch.where(known, numbers, 0.0), known, most)
    before = getattr(p, "module_", None) if p.warm_start else None
    if before is None or before.bins is None or before.asked_bins != most:
        return in_use, most
    if not np.array_equal(before.n_categories, n_categories):
        return in_use, most
    kept = before.bins.n_bins
    return kept, most if in_use <= kept else kept


def _most_bins(p, n_categories):
    """Most bins of a number: fewer where there are many numbers."""
    if p.n_bins != "auto":
        return p.n_bins
    n_numbers = max(int((n_categories == 0).sum()), 1)
    return int(np.clip(_BINS_OF_A_ROW // n_numbers, _FEWEST_BINS, _MOST_BINS))


def _refuse(p, n_categories):
    """Refuse tables and parameters that do not go together."""
    n_columns, n_labels = len(n_categories), int((n_categories > 0).sum())
    if p.grid_shape is not None:
        if math.prod(image_shape(p.grid_shape)) != n_columns:
            raise ValueError(
                f"grid_shape={p.grid_shape} must have as many values as X has "
                f"columns, {n_columns}."
            )
        if p.n_models > 1 or p.backbone == "gaussian":
            raise ValueError(
                "Images take n_models=1 and no backbone, got "
                f"n_models={p.n_models} and backbone={p.backbone!r}."
            )
    binned = p.likelihood == "binned" or p.embedding is True
    if binned and (p.grid_shape is not None or p.sigma == "fixed"):
        raise ValueError(
            "likelihood='binned' and embedding=True are for rows of a table with "
            f"sigma='learned', got grid_shape={p.grid_shape} and sigma={p.sigma!r}."
        )
    certain = p.sigma == "fixed" or p.variant in ("nn", "um")
    if p.validation_score == "crps" and (certain or p.likelihood == "bernoulli"):
        raise ValueError(
            "validation_score='crps' is of draws, with sigma='learned' and no 'nn' or "
            f"'um', got sigma={p.sigma!r}, variant={p.variant!r} and "
            f"likelihood={p.likelihood!r}."
        )
    if p.validation_score == "crps" and p.n_validation_importance < 2:
        raise ValueError(
            "validation_score='crps' takes n_validation_importance of at least 2, got "
            f"{p.n_validation_importance}."
        )
    if p.likelihood == "bernoulli" and p.backbone == "gaussian":
        raise ValueError(
            "likelihood='bernoulli' takes no backbone, got backbone='gaussian'."
        )
    if p.n_sweeps not in ("auto", 0) and (
        p.grid_shape is not None or p.variant == "um"
    ):
        raise ValueError(
            "n_sweeps is for tables, and not for variant='um', which draws cell by "
            f"cell, got n_sweeps={p.n_sweeps}, grid_shape={p.grid_shape} and "
            f"variant={p.variant!r}."
        )
    if p.variant == "um" and p.n_models > 1:
        raise ValueError(f"variant='um' takes n_models=1, got n_models={p.n_models}.")
    if n_labels and (p.grid_shape is not None or p.likelihood == "bernoulli"):
        raise ValueError(
            "grid_shape and likelihood='bernoulli' are for numbers alone, got "
            f"{n_labels} categorical columns. Encode them first; of booleans, "
            "X.astype(float) will do."
        )
