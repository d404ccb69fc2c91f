"""GAINImputer: what its own parameters do, and what it learns."""

import numpy as np
import pandas as pd
import pytest
import torch

from skimpute import GAINImputer
from skimpute.masks import MCAR
from tests.truth import equicorrelated, punch_holes

SMALL = {"width": 16, "depth": 1, "device": "cpu", "random_state": 0}


def nrmse(X, filled, truth):
    """Root mean squared error of the gaps of X, in standard deviations."""
    gaps = np.isnan(X)
    error = np.where(gaps, filled - truth, 0.0) / truth.std(axis=0)
    return np.sqrt((error**2).sum() / gaps.sum())


@pytest.fixture
def table():
    return punch_holes(equicorrelated(3).draw(60), 0.2)


# -- what it learns


def test_correlated_columns_are_filled_better_than_by_their_means():
    """By a fifth at least; the exact conditional means are better by two."""
    truth = equicorrelated(4, 0.8, scale=[1.0, 10.0, 0.1, 1.0], mean=[0, 5, 1, 0])
    X_full = truth.draw(400, seed=1)
    X = punch_holes(X_full, 0.3)
    options = {**SMALL, "width": 32, "batch_size": 64}
    imputer = GAINImputer(max_epochs=40, learning_rate=5e-3, **options).fit(X)
    assert imputer.best_epoch_ > 0
    of_mean = nrmse(X, np.where(np.isnan(X), np.nanmean(X, axis=0), X), X_full)
    assert nrmse(X, imputer.transform(X), X_full) < 0.8 * of_mean
    assert nrmse(X, truth.complete(X)[0], X_full) < 0.6 * of_mean


def test_rows_without_gaps_are_enough_to_learn_from():
    truth = equicorrelated(3, 0.9)
    X_full = truth.draw(300, seed=2)
    imputer = GAINImputer(max_epochs=60, learning_rate=3e-3, **SMALL)
    imputer.fit(truth.draw(300, seed=1))
    X = X_full.copy()
    X[:, 0] = np.nan
    assert nrmse(X, imputer.transform(X), X_full) < 0.7


def test_labels_that_follow_a_number_are_filled_in():
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    label = np.select([z < -0.5, z > 0.5], ["low", "high"], "middle")
    frame = pd.DataFrame({"z": z, "label": label, "other": rng.normal(size=400)})
    imputer = GAINImputer(max_epochs=60, learning_rate=3e-3, **SMALL).fit(frame)
    filled = imputer.transform(frame.assign(label=None).astype({"label": "object"}))
    assert (filled["label"] == label).mean() > 0.8


def test_draws_of_an_independent_label_have_nearly_its_frequencies():
    rng = np.random.default_rng(0)
    label = rng.choice(["a", "b", "c"], size=600, p=[0.6, 0.3, 0.1])
    frame = pd.DataFrame({"label": label, "x": rng.normal(size=600)})
    imputer = GAINImputer(max_epochs=30, learning_rate=3e-3, **SMALL).fit(frame)
    (drawn,) = imputer.sample(frame.assign(label=None), 1, random_state=0)
    shares = drawn["label"].value_counts(normalize=True).reindex(["a", "b", "c"])
    np.testing.assert_allclose(shares.to_numpy(), [0.6, 0.3, 0.1], atol=0.15)


def test_learning_y_along_fills_columns_that_follow_it():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 3)), np.repeat(["a", "b"], 40)
    imputer = GAINImputer(**SMALL, max_epochs=1).fit(X, y)
    assert imputer.module_.layout.n_columns == 4
    assert imputer.n_features_in_ == 3
    X[0, 0] = np.nan
    assert imputer.transform(X).shape == imputer.sample(X, 1)[0].shape == X.shape
    without = GAINImputer(**SMALL, max_epochs=1, use_target=False).fit(X, y)
    assert without.module_.layout.n_columns == 3


# -- its parameters


def test_alpha_makes_networks_give_back_what_they_know(table):
    def reconstruction(alpha):
        imputer = GAINImputer(alpha=alpha, max_epochs=40, learning_rate=3e-3, **SMALL)
        return imputer.fit(table).history_[-1]["reconstruction"]

    assert reconstruction(10.0) < 0.7 * reconstruction(0.0)


def test_without_noise_all_draws_are_the_same(table):
    imputer = GAINImputer(noise=0.0, max_epochs=2, **SMALL).fit(table)
    first, second = imputer.sample(table, 2, random_state=0)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("hint", ["rate", "all_but_one", "released"])
def test_every_hint_trains(table, hint):
    imputer = GAINImputer(hint=hint, hint_rate=0.9, max_epochs=3, **SMALL).fit(table)
    losses = [[e["loss_critic"], e["loss_generator"]] for e in imputer.history_]
    assert np.isfinite(losses).all()
    assert np.isfinite(imputer.transform(table)).all()


def test_settings_of_the_released_code_are_within_reach(table):
    imputer = GAINImputer(
        hint="released", hint_rate=0.9, noise=0.01, category_noise=0.01,
        training_mask=0.0, learning_rate=1e-3, learning_rate_schedule="constant",
        validation_fraction=0.0, max_epochs=3, **SMALL,
    ).fit(table)  # fmt: skip
    assert imputer.best_epoch_ == 3
    assert np.isnan([e["validation_score"] for e in imputer.history_]).all()


def test_with_nothing_hidden_while_training_the_last_epoch_is_kept(table):
    imputer = GAINImputer(training_mask=0.0, max_epochs=4, **SMALL).fit(table)
    assert [e["validation_score"] for e in imputer.history_] == [0.0] * 4
    assert imputer.best_epoch_ == 4


def test_the_training_mask_can_be_chosen(table):
    for mask in (0.2, "resample", MCAR(0.4), [(0.1, 1.0), (MCAR(0.9), 2.0)]):
        GAINImputer(training_mask=mask, max_epochs=1, **SMALL).fit(table)
    with pytest.raises(ValueError, match="training_mask"):
        GAINImputer(training_mask="stripes").fit(table)


@pytest.mark.parametrize(("n_columns", "width"), [(3, 64), (100, 100), (300, 256)])
def test_width_grows_with_the_table(n_columns, width):
    module = GAINImputer()._build_module([0] * n_columns)
    assert {layer.out_features for layer in module.critic.layers[:-1]} == {width}
    assert GAINImputer(width=7)._build_module([0, 0]).critic.layers[0].out_features == 7


@pytest.mark.parametrize(
    ("n_rows", "n_epochs"),
    [(1, 1000), (100, 500), (600, 250), (3000, 177), (10**5, 31)],
)
def test_small_tables_have_many_epochs_of_few_steps(n_rows, n_epochs):
    device = torch.device("cpu")
    assert GAINImputer()._plan(n_rows, device, seed=0).max_epochs == n_epochs
    assert GAINImputer(max_epochs=3)._plan(n_rows, device, seed=0).max_epochs == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "'width' parameter"),
        ({"depth": 0}, "'depth' parameter"),
        ({"alpha": -1}, "'alpha' parameter"),
        ({"hint": "all"}, r"'hint' parameter .* Got 'all' instead"),
        ({"hint_rate": 1.1}, "'hint_rate' parameter"),
        ({"cross_entropy": 2}, "'cross_entropy' parameter"),
        ({"noise": -0.1}, "'noise' parameter"),
        ({"category_noise": None}, "'category_noise' parameter"),
        ({"learning_rate": 0}, "'learning_rate' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"device": "toaster"}, "'toaster' is not available, there is: cpu"),
    ],
)
def test_impossible_parameters(table, parameters, message):
    with pytest.raises(ValueError, match=message):
        GAINImputer(**(SMALL | parameters)).fit(table)


# -- what it has, and what it has not


def test_there_are_draws_but_no_densities():
    for name in ("predict_distribution", "log_prob", "elbo", "predict"):
        assert not hasattr(GAINImputer, name)


def test_history_tells_of_both_networks_and_the_bar_shows_them(table, capsys):
    imputer = GAINImputer(max_epochs=4, verbose=1, **SMALL).fit(table)
    assert imputer.n_epochs_ == len(imputer.history_) == 4
    assert {
        *("loss_critic", "loss_generator", "adversarial", "reconstruction"),
        "validation_score",
    } <= set(imputer.history_[0])
    shown = capsys.readouterr().err
    assert "loss_critic=0." in shown and "score=-" in shown and "nan" not in shown


def test_an_epoch_worse_than_the_start_is_not_kept(table):
    imputer = GAINImputer(max_epochs=3, learning_rate=10.0, **SMALL).fit(table)
    start = imputer.history_[0]["validation_score"]
    assert imputer.best_epoch_ == 0 or start > -2
    assert nrmse(table, imputer.transform(table), np.nan_to_num(table)) < 2


def test_warm_start_goes_on(table):
    imputer = GAINImputer(max_epochs=2, **SMALL).fit(table)
    first = imputer.module_.state_dict()
    imputer.set_params(warm_start=True, max_epochs=1, learning_rate=1e-9).fit(table)
    again = imputer.module_.state_dict()
    assert all(
        (first[key].float() - again[key].float()).abs().max() < 1e-6 for key in first
    )


def test_bfloat16_trains_too(table):
    imputer = GAINImputer(precision="bfloat16", max_epochs=2, **SMALL).fit(table)
    assert np.isfinite(imputer.transform(table)).all()
