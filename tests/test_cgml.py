"""CGMLRegressor: several right answers, in the shares of the data."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skimpute import CGMLRegressor
from skimpute.cgml_parameters import _as_good_as_best
from skimpute.metrics import energy_score

TINY = {"latent_dim": 3, "n_inner": 3, "hidden_dim": 16, "h_dim": 8, "device": "cpu"}
CHECKED = CGMLRegressor(
    max_epochs=3, hidden_dim=32, h_dim=16, n_inner=3, device="cpu", random_state=0
)


@parametrize_with_checks([CHECKED])
def test_scikit_learn_checks(estimator, check):
    if check.func.__name__ == "check_regressors_train":
        estimator = clone(estimator).set_params(max_epochs=30)
    check(estimator)


def curves(x):
    """One of the two answers of the toy of section 4; the other is its negative."""
    x = np.asarray(x, dtype=float)
    return 4 * np.stack([x, x**2, x**3], axis=-1)


def make_toy(share, n=2000, seed=0):
    """Pairs (x, y) with y = curves(x) in a share of the rows, else -curves(x)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=n)
    sign = np.where(rng.random(n) < share, 1, -1)
    return x[:, None], sign[:, None] * curves(x)


def judge(draws, x):
    """Share of draws (n, 3, n_draws) on a curve, and share of the first, row by row."""
    truth = curves(x)[..., None]
    size = np.linalg.norm(truth, axis=1)
    first = np.linalg.norm(draws - truth, axis=1)
    second = np.linalg.norm(draws + truth, axis=1)
    on_curve = np.minimum(first, second) < 0.15 * size
    return on_curve.mean(), (first < second).mean(axis=1)


HELD_OUT = np.linspace(0.4, 1, 40)


@pytest.fixture(scope="module")
def regressor():
    x, y = make_toy(0.7)
    return CGMLRegressor(max_epochs=40, device="cpu", random_state=0).fit(x, y)


def test_draws_are_on_the_curves_in_the_shares_of_the_data(regressor):
    draws = regressor.sample_y(HELD_OUT[:, None], 200, random_state=0)
    assert draws.shape == (40, 3, 200)
    on_curve, shares = judge(draws, HELD_OUT)
    assert on_curve > 0.93
    assert np.abs(shares - 0.7).mean() < 0.08


def test_predict_is_one_of_the_answers(regressor):
    predicted = regressor.predict(HELD_OUT[:, None])
    on_curve, shares = judge(predicted[..., None], HELD_OUT)
    assert on_curve > 0.9
    assert shares.mean() > 0.9  # the more frequent one
    mean = clone(regressor).set_params(statistic="mean")
    mean.__dict__.update({k: v for k, v in vars(regressor).items() if k.endswith("_")})
    mean._n_outputs = regressor._n_outputs
    assert judge(mean.predict(HELD_OUT[:, None])[..., None], HELD_OUT)[0] < 0.2


def test_modes_are_the_answers_with_their_shares(regressor):
    for x, modes in zip([0.6, 0.9], regressor.modes([[0.6], [0.9]]), strict=True):
        assert modes.shares.sum() == pytest.approx(1)
        assert (np.diff(modes.shares) <= 0).all()
        for value, sign in zip(modes.y[:2], (1, -1), strict=True):
            wanted = sign * curves(x)
            assert np.linalg.norm(value - wanted) < 0.15 * np.linalg.norm(wanted)
        assert modes.shares[0] == pytest.approx(0.7, abs=0.12)
    whole = regressor.modes([[0.6]], tol=100.0)[0]
    assert whole.shares.tolist() == [1.0] and whole.y.shape == (1, 3)


@pytest.fixture(scope="module")
def noiseless(regressor):
    """The same without residuals."""
    other = copy.deepcopy(regressor)
    other.module_.residuals.empty()
    return other


def test_trajectory_passes_the_draws(noiseless):
    regressor = noiseless
    path = regressor.trajectory([[0.5], [0.8]], n_samples=4, random_state=3)
    assert path.y.shape == (21, 4, 2, 3)
    assert path.z.shape == (21, 4, 2, 8)
    assert np.abs(np.linalg.norm(path.z, axis=-1) - 1).max() < 1e-5
    draws = regressor.sample_y([[0.5], [0.8]], 4, random_state=3)
    there = path.y[regressor.n_infer_]
    np.testing.assert_allclose(there, np.moveaxis(draws, -1, 0), atol=1e-5)


def test_momentum_is_lower_on_the_curves():
    """Section 2.2 and Fig. 3: rho goes to zero at true answers."""
    paper = CGMLRegressor(
        start="uniform", draw_noise=None, max_epochs=25, device="cpu", random_state=0
    ).fit(*make_toy(0.5))
    path = paper.trajectory(HELD_OUT[:, None], n_samples=20, random_state=0)
    module = paper.module_
    rows = paper.imputer_._standardise(paper._code(HELD_OUT[:, None]))
    state = module.encode(paper.imputer_._batch(rows))
    conditioned = module.motion.condition(state.code)
    with torch.no_grad():
        here, there = (
            module._predict_motion(conditioned, torch.as_tensor(z).float())[..., -1]
            for z in (path.z[0], path.z[-1])
        )
    assert there.mean() < 0.5 * here.mean()


def test_draws_do_not_look_at_y():
    """What was fitted holds no targets: they might be shuffled afterwards."""
    x, y = make_toy(0.7)
    regressor = CGMLRegressor(max_epochs=1, draw_noise=None, device="cpu").fit(x, y)
    arrays = {
        k: v for k, v in vars(regressor.imputer_).items() if isinstance(v, np.ndarray)
    }
    assert not any(v.size >= 2000 for v in arrays.values())
    sizes = [v.numel() for v in regressor.module_.state_dict().values()]
    assert len(regressor.module_.residuals) == 0
    assert max(sizes) < 2 * 96 * 8 * 17 + 1


def test_rows_are_answered_by_themselves(regressor):
    rows = np.linspace(0, 1, 30)[:, None]
    drawn = regressor.sample_y(rows, 5, random_state=0)
    predicted = regressor.predict(rows)
    for i in (0, 11, 29):
        alone = regressor.sample_y(rows[[i]], 5, random_state=0)
        np.testing.assert_array_equal(alone[0], drawn[i])
        np.testing.assert_array_equal(regressor.predict(rows[[i]])[0], predicted[i])


def test_residuals_are_those_of_the_row_alone_and_are_kept(regressor):
    other = copy.deepcopy(regressor)
    generator = torch.Generator().manual_seed(0)
    codes, rest = (torch.randn(99, d, generator=generator) for d in (32, 3))
    other.module_.residuals.fill(codes, rest)
    rows = np.linspace(0, 1, 30)[:, None]
    drawn = other.sample_y(rows, 5, random_state=0)
    assert not np.allclose(drawn, regressor.sample_y(rows, 5, random_state=0))
    for i in (0, 11, 29):
        alone = other.sample_y(rows[[i]], 5, random_state=0)
        np.testing.assert_array_equal(alone[0], drawn[i])
    again = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(again.sample_y(rows, 5, random_state=0), drawn)


def test_candidates_within_a_standard_error_are_as_good_as_the_best():
    score = torch.arange(400.0)[:, None] / 400
    noise = torch.where(torch.arange(400)[:, None] % 2 == 0, 1.0, -1.0)
    near = score + 0.02 + noise  # 0.02 worse, with a standard error of 0.05
    far = score + 0.2 + noise
    scores = torch.cat([far, score + 1, near, score], 1)
    assert _as_good_as_best(scores) == [2, 3]
    assert _as_good_as_best(scores[:50]) == [3]  # too few for a standard error


def test_missing_features_make_answers_vary(regressor):
    """Shares are not those of the data then, see the notes of the class."""
    unknown = regressor.sample_y([[np.nan]], 200, random_state=0)[0, 0]
    known = regressor.sample_y([[0.5]], 200, random_state=0)[0, 0]
    assert np.abs(unknown).std() > 1.2 * np.abs(known).std()


def test_pickle_and_seed(regressor):
    other = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(
        other.sample_y([[0.5]], 3, random_state=1),
        regressor.sample_y([[0.5]], 3, random_state=1),
    )
    assert not np.array_equal(
        regressor.sample_y([[0.5]], 3, random_state=1),
        regressor.sample_y([[0.5]], 3, random_state=2),
    )


@pytest.fixture(scope="module")
def noisy():
    """One answer with noise that grows with x, and new pairs."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(2000, 1))
    y = np.sin(3 * x[:, 0]) + (0.05 + 0.4 * x[:, 0]) * rng.normal(size=2000)
    model = CGMLRegressor(hidden_dim=32, max_epochs=80, device="cpu", random_state=0)
    return model.fit(x[:1000], y[:1000]), x, y


def test_draws_stop_where_they_are_best(regressor, noisy):
    """Their energy score is about the best that any number of steps has."""
    model, x, y = noisy
    for fitted, new_x, new_y in (
        (regressor, *make_toy(0.7, n=500, seed=1)),
        (model, x[1000:], y[1000:, None]),
    ):
        path = fitted.trajectory(new_x, n_samples=20, random_state=0).y
        ends = path.reshape(*path.shape[:3], -1)
        scores = [energy_score(new_y, end) for end in ends]
        assert scores[fitted.n_infer_] < 1.03 * min(scores)
    x, y = make_toy(0.7, n=100)
    fixed = CGMLRegressor(n_infer=7, max_epochs=1, **TINY).fit(x, y)
    assert fixed.n_infer_ == 7
    assert fixed.trajectory(x[:2]).y.shape[0] == 8
    paper = CGMLRegressor(start="uniform", max_epochs=1, **TINY).fit(x, y)
    assert paper.n_infer_ == 6


def test_draws_have_the_spread_of_the_data(noisy):
    """90 % of the targets lie between the 5 % quantiles."""
    model, x, y = noisy
    draws = model.sample_y(x[1000:], 100, random_state=0)
    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
    for part in (x[1000:, 0] < 0.5, x[1000:, 0] >= 0.5):
        inside = (low < y[1000:]) & (y[1000:] < high)
        assert 0.8 < inside[part].mean() <= 0.99
    _, std = model.predict([[0.05], [0.95]], return_std=True)
    assert std[1] > 2 * std[0]
    plain = clone(model).set_params(draw_noise=None, n_infer=20)
    plain = plain.fit(x[:1000], y[:1000])
    narrow = plain.sample_y(x[1000:], 100, random_state=0)
    assert narrow.std(axis=1).mean() < 0.5 * draws.std(axis=1).mean()


def test_frames_with_gaps_and_categories():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.choice(["x", "y"], 80)})
    frame.loc[::7, "a"] = np.nan
    frame.loc[3, "b"] = None
    model = CGMLRegressor(**TINY, max_epochs=2, random_state=0)
    y = pd.Series(rng.normal(size=80))
    assert model.fit(frame, y).predict(frame).shape == (80,)
    assert model.transform_features(frame).shape == (80, 8)
    y[5] = np.nan
    assert np.isfinite(model.fit(frame, y).predict(frame)).all()


def test_images_to_images():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 30))
    y = np.stack([X, -X], 2)
    model = CGMLRegressor(
        grid_shape=(6, 5),
        n_channels=4,
        max_epochs=2,
        n_inner=2,
        device="cpu",
        random_state=0,
    )
    model.fit(X, y.reshape(60, -1))
    assert model.predict(X).shape == (60, 60)
    assert model.sample_y(X[:2], 3).shape == (2, 60, 3)
    with pytest.raises(ValueError, match="one to three sides"):
        clone(model).set_params(grid_shape=(1, 1, 6, 5)).fit(X, X)
    with pytest.raises(ValueError, match="30 places, and y has 7 columns"):
        model.fit(X, y.reshape(60, -1)[:, :7])


@pytest.mark.parametrize(
    "options",
    [
        {"start": "uniform"},
        {"lipschitz": "noise", "lipschitz_constant": 2.0},
        {"lipschitz": None, "loss": "l1", "z_loss": "l1"},
        {"lipschitz_constant": 5.0, "loss": "l2", "momentum": None},
        {"manifold": "box", "latent_dim": 1},
        {"n_infer": 0, "statistic": "median"},
        {"max_seconds": 1e-9},
    ],
)
def test_every_option_fits(options):
    x, y = make_toy(0.5, n=60)
    model = CGMLRegressor(**TINY | options, max_epochs=2, random_state=0).fit(x, y)
    assert np.isfinite(model.predict(x)).all()
    assert np.isfinite(model.sample_y(x, 3)).all()


def test_fixed_bound_stays():
    x, y = make_toy(0.5, n=60)
    model = CGMLRegressor(**TINY, lipschitz_constant=5.0, max_epochs=2).fit(x, y)
    assert model.module_.generator.gain().item() == pytest.approx(5.0)


def test_warm_start_goes_on():
    x, y = make_toy(0.5, n=200)
    model = CGMLRegressor(**TINY, max_epochs=30, warm_start=True, random_state=0)
    first = model.fit(x, y).history_
    again = model.set_params(max_epochs=1).fit(x, y).history_[0]["loss"]
    assert again < 0.5 * (first[0]["loss"] + first[-1]["loss"])
    assert model.module_.stage == "motion"


def test_warm_start_has_the_parameters_of_now():
    x, y = make_toy(0.5, n=60)
    model = CGMLRegressor(**TINY, max_epochs=1, warm_start=True, random_state=0)
    model.fit(x, y).set_params(n_infer=2, step_size=0.1, start="uniform").fit(x, y)
    assert model.n_infer_ == 2
    assert model.module_.step_size == 0.1
    assert model.module_.start is None
    assert model.fit(np.hstack([x, x]), y[:, 0]).predict(np.hstack([x, x])).ndim == 1


def test_rows_without_a_target_do_no_harm():
    x, y = make_toy(0.7, n=600)
    options = {"hidden_dim": 32, "max_epochs": 60, "device": "cpu", "random_state": 0}
    more_x, nothing = np.vstack([x, x]), np.vstack([y, np.full_like(y, np.nan)])
    model = CGMLRegressor(**options).fit(more_x, nothing)
    drawn = model.sample_y(HELD_OUT[:, None], 50, random_state=0)
    assert judge(drawn, HELD_OUT)[0] > 0.7


def test_draws_do_not_repeat_the_target_of_their_row():
    """Of noise nothing can be known, also not of a row that was learned from."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    options = {**TINY, "random_state": 0, "validation_fraction": 0.0}
    model = CGMLRegressor(**options, max_epochs=5).fit(x, y)
    middle = model.sample_y(x, 100, random_state=0).mean(axis=1)
    assert np.corrcoef(middle, y)[0, 1] < 0.5


@pytest.mark.parametrize("ask", ["modes", "trajectory", "transform_features"])
def test_an_unfitted_regressor_says_so(ask):
    with pytest.raises(NotFittedError):
        getattr(CGMLRegressor(), ask)([[1.0]])


def test_bad_arguments_are_refused(regressor):
    x, y = make_toy(0.5, n=20)
    with pytest.raises(ValueError, match="latent_dim must be at least 2 on the sphere"):
        CGMLRegressor(latent_dim=1).fit(x, y)
    with pytest.raises(ValueError, match="n_starts must be an int >= 1, got 0"):
        regressor.modes([[0.5]], n_starts=0)
    with pytest.raises(ValueError, match="tol must be a positive number, got -1"):
        regressor.modes([[0.5]], tol=-1)
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        regressor.trajectory([[0.5]], n_samples=0)
    with pytest.raises(ValueError, match="'start' parameter"):
        CGMLRegressor(start="nowhere").fit(x, y)


# -- as the benchmark has it


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_toy_of_the_paper_with_learned_starts(share, seed):
    x, y = make_toy(share, n=4000, seed=seed)
    model = CGMLRegressor(device="cpu", random_state=seed).fit(x, y)
    draws = model.sample_y(HELD_OUT[:, None], 200, random_state=0)
    on_curve, shares = judge(draws, HELD_OUT)
    assert on_curve > 0.9
    assert np.abs(shares - share).mean() < 0.06


@pytest.mark.slow
def test_toy_of_the_paper_with_uniform_starts():
    x, y = make_toy(0.7, n=4000)
    paper = {"start": "uniform", "draw_noise": None}
    model = CGMLRegressor(**paper, device="cpu", random_state=0).fit(x, y)
    on_curve, shares = judge(
        model.sample_y(HELD_OUT[:, None], 200, random_state=0), HELD_OUT
    )
    assert on_curve > 0.9
    assert np.abs(shares - 0.7).mean() > 0.12  # basins decide, not the data
