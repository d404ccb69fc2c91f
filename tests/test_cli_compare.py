"""``skimpute compare``: what is printed and written, how it refuses."""

import io
import os
import sys

import numpy as np
import pandas as pd
import pytest

from skimpute import cli
from skimpute.datasets import load_penguins, make_gaussian_table

QUICK = ("--methods", "mean", "mice", "--repeats", "2", "--n-imputations", "20")


@pytest.fixture(scope="module")
def gaussian():
    X = make_gaussian_table(50, 3, rho=0.9, missing_rate=0.1, random_state=0).X
    return pd.DataFrame(X, columns=list("abc")).to_csv(index=False)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, gaussian):
    """Run the command beside a file in.csv; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(gaussian, encoding="utf-8")

    def call(*argv):
        code = cli.main(["compare", *map(str, argv)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_the_best_method_is_printed_first(run, tmp_path):
    code, out, err = run("in.csv", *QUICK)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("50 rows x 3 columns, ")
    assert lines[0].endswith("MCAR(), 2 repeats, 20 draws")
    assert [line.split()[0] for line in lines[3:]] == ["mice", "mean"]
    assert os.listdir(tmp_path) == ["in.csv"]


def test_numbers_and_a_picture_are_written(run, tmp_path):
    files = ("-o", "table.csv", "--plot", "plot.png")
    code, out, _ = run("in.csv", *QUICK, *files)
    assert code == 0
    assert "overall" in out
    table = pd.read_csv("table.csv")
    assert table["imputer"].tolist() == ["mice", "mean"]
    assert (table["overall"] > 0).all()
    assert (table["overall_sd"] > 0).all()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_standard_output_holds_nothing_but_numbers(run):
    first = run("in.csv", *QUICK, "-o", "-")
    assert first[0] == 0
    table = pd.read_csv(io.StringIO(first[1]))
    assert table.shape == (2, 26)
    second = pd.read_csv(io.StringIO(run("in.csv", *QUICK, "-o", "-")[1]))
    measures = [name for name in table if "seconds" not in name]
    pd.testing.assert_frame_equal(table[measures], second[measures])


@pytest.mark.parametrize(
    "options, shown",
    [
        (("--mechanism", "mar", "--rate", "0.4"), "MAR(rate=0.4)"),
        (("--mechanism", "mnar", "--rate", ".5"), "MNAR(rate=0.5)"),
        (("--new-rows", "0.3"), "in rows not learned from"),
        (("--seed", "3", "--ignore", "c"), "50 rows x 2 columns"),
        (("--methods", "mice,mean"), "\nmice"),
    ],
)
def test_options_reach_the_comparison(run, options, shown):
    code, out, _ = run("in.csv", *QUICK, *options)
    assert code == 0
    assert shown in out


def test_categories_are_scored_as_such(run):
    load_penguins().iloc[::4].to_csv("in.csv", index=False)
    quick = ("--methods", "mean", "--repeats", "1", "--n-imputations", "10")
    code, out, _ = run("in.csv", *quick, "--categorical", "year")
    assert code == 0
    assert {"brier", "pfc", "crps", "nrmse"} <= set(out.splitlines()[2].split())


def test_seconds_limit_what_is_trained_by_epochs(run, monkeypatch):
    seen = {}

    def fake(imputers, X, **options):
        seen.update(imputers)
        raise ValueError("enough")

    monkeypatch.setattr("skimpute.selection.compare", fake)
    code, _, err = run("in.csv", "--max-seconds", "7")
    assert (code, err) == (2, "skimpute: error: enough\n")
    assert list(seen) == ["mean", "gaussian", "mice", "missforest", "vaeac"]
    assert seen["vaeac"].max_seconds == 7
    assert "max_seconds" not in seen["mice"].get_params()


def test_a_bar_is_shown_on_a_terminal_only(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    quick = ("--methods", "mean", "--repeats", "2", "--n-imputations", "5")
    assert run("in.csv", *quick)[0] == 0
    assert "2/2" in terminal.getvalue()


def test_failing_methods_are_one_line(run, monkeypatch):
    from skimpute.core.marginal import MarginalImputer

    def fit(self, X, y=None):
        raise ValueError("column 'a':\n no")

    monkeypatch.setattr(MarginalImputer, "fit", fit)
    code, out, err = run("in.csv", *QUICK)
    assert code == 0
    assert err == (
        "skimpute: warning: mean failed in 2 of 2 repeats and is not ranked. "
        "ValueError: column 'a': no\n"
    )
    assert "mice" in out


@pytest.mark.parametrize(
    "argv, message",
    [
        ((), "the following arguments are required: in.csv"),
        (("none.csv",), "cannot read none.csv: no such file"),
        (("in.csv", "--methods", "nice"), "--methods: there is no 'nice'. Methods are"),
        (("in.csv", "--rate", "1"), "--rate: must be above 0 and below 1, got '1'"),
        (("in.csv", "--new-rows", "2"), "--new-rows: must be above 0 and below 1"),
        (("in.csv", "--repeats", "0"), "--repeats: must be a whole number >= 1"),
        (("in.csv", "--jobs", "x"), "--jobs: invalid int"),
        (("in.csv", "--mechanism", "x"), "--mechanism: invalid choice: 'x'"),
        (("in.csv", "-o", "no/o.csv"), "no/o.csv: there is no such directory"),
        (("in.csv", "-o", "in.csv"), "in.csv is the input"),
        (("in.csv", "-o", "a.png", "--plot", "a.png"), "--plot and --output name the"),
        (("in.csv", "--plot", "a.gif2"), "--plot a.gif2: unknown kind of picture"),
        (("in.csv", "--ignore", "z"), "--ignore: there is no column 'z'"),
        (
            ("in.csv", "--methods", "mean", "--n-imputations", "1"),
            "n_imputations must be an int >= 2",
        ),
    ],
)
def test_bad_options_are_one_line(run, tmp_path, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("skimpute: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["in.csv"]


def test_missing_matplotlib_is_refused_before_training(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = run("in.csv", "--plot", "plot.png")
    assert code == 2
    assert '--plot needs matplotlib. Install it with: pip install "skimpute[' in err


def test_parquet_files_are_compared(run):
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc")).to_parquet("t.parquet")
    quick = ("--methods", "mean", "--repeats", "1", "--n-imputations", "10")
    code, out, err = run("t.parquet", *quick, "-o", "table.parquet")
    assert (code, err) == (0, "")
    assert "40 rows x 3 columns" in out
    assert pd.read_parquet("table.parquet")["imputer"].tolist() == ["mean"]
