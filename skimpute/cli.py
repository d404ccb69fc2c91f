"""The command ``skimpute``: complete a CSV file, or show what that looks like.

Cells that hold something are written as they were read, to the letter: the text of a
file is kept beside the table that is made of it, and only gaps are filled in.
"""

import argparse
import os
import re
import sys
import time
import warnings
from functools import partial
from pathlib import Path

# numpy, pandas and the estimators are imported where they are used: `--help` is quick.

_METHODS = {
    "vaeac": ("skimpute.vaeac", "VAEACImputer"),
    "mice": ("skimpute.baselines", "MICEImputer"),
    "missforest": ("skimpute.baselines", "MissForestImputer"),
}


class CommandError(Exception):
    """What the user can put right; shown as one line, exit code 2."""


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        0 done, 2 bad input, 130 interrupted.
    """
    if "torch" not in sys.modules:  # networks this small are quickest with one thread
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        args = _parser().parse_args(argv)
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            args.run(args)
            sys.stdout.flush()
    except CommandError as error:
        return _fail(error)
    except (ValueError, TypeError, ImportError) as error:
        # What the estimators say about a table already names column and remedy.
        return _fail(error)
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except BrokenPipeError:
        # The reader of the pipe has left: nothing to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename}")
    except KeyboardInterrupt:
        print("skimpute: interrupted", file=sys.stderr)
        return 130
    return 0


def _fail(error):
    text = " ".join(str(error).split())
    print(f"skimpute: error: {text}", file=sys.stderr)
    return 2


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if not issubclass(category, (DeprecationWarning, FutureWarning)):
        _say(f"warning: {message}")


def _say(text):
    print(f"skimpute: {' '.join(text.split())}", file=sys.stderr)


# -- arguments -----------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        """Raise instead of printing the usage and leaving."""
        raise CommandError(f"{message}. See: {self.prog} --help")


class _Version(argparse.Action):
    """Print the version; read only when it is asked for."""

    def __call__(self, parser, namespace, values, option_string=None):
        from skimpute import __version__

        print(f"skimpute {__version__}")
        parser.exit()


def _parser():
    parser = _Parser(
        prog="skimpute",
        description="Fill the gaps of tables, and say how sure that is.",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the version and leave"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_impute(commands)
    demo = commands.add_parser(
        "demo",
        help="complete the bundled table of penguins",
        description="Complete the bundled table of penguins, say what was done, and "
        "write the completed table and a picture.",
    )
    demo.add_argument(
        "--output-dir", default=".", metavar="DIR", help="where to write [.]"
    )
    demo.set_defaults(run=_demo)
    return parser


def _add_impute(commands):
    impute = commands.add_parser(
        "impute",
        help="fill the gaps of a CSV file",
        description="Fill the gaps of a CSV file (empty cells, NA, NaN, null, None). "
        "Cells that hold something are copied as they are.",
    )
    add = impute.add_argument
    add("input", metavar="in.csv", help="file to read, '-' for standard input")
    add("-o", "--output", required=True, metavar="out.csv", help="'-' for output")
    add("--method", choices=list(_METHODS), default="vaeac", help="[vaeac]")
    add(
        "--n-imputations",
        type=_count,
        metavar="M",
        help="draw M tables instead of one best answer; they go to out_1.csv, ...",
    )
    add("--long", action="store_true", help="one long table with a column imputation")
    add(
        "--categorical",
        type=_names,
        default=[],
        metavar="A,B",
        help="columns to treat as categories although they hold numbers",
    )
    add(
        "--ignore",
        type=_names,
        default=[],
        metavar="A,B",
        help="columns to copy, neither used nor filled (identifiers, free text)",
    )
    add(
        "--missing",
        type=_names,
        default=[],
        metavar="X,Y",
        help="more texts that mean a gap, for instance '?' or -999",
    )
    add("--sep", metavar="CHAR", help="separator [',', tab for .tsv]")
    add("--report", metavar="PNG", help="draw gaps and imputed values (png, pdf, svg)")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same answer [0]")
    add("--max-seconds", type=_seconds, metavar="S", help="stop training after that")
    impute.set_defaults(run=_impute)


def _count(text):
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text!r}")
    return int(text)


def _seconds(text):
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {text!r}")
    return float(text)


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


# -- impute --------------------------------------------------------------------------


def _impute(args):
    start = time.monotonic()
    _check_outputs(args)
    table = _read(args)
    completed = _complete(table, args)
    _write_tables([table.filled(frame) for frame in completed], args)
    if sys.stderr.isatty():
        seconds = time.monotonic() - start
        size = f"{table.n_gaps:,} gaps of {len(table.text):,} rows"
        _say(f"filled {size} in {seconds:.1f} s")


def _check_outputs(args):
    """Say now what could not be written after minutes of training."""
    if args.long and args.n_imputations is None:
        raise CommandError("--long needs --n-imputations M. Pass for example 5.")
    several = args.n_imputations is not None and args.n_imputations > 1
    if args.output == "-" and several and not args.long:
        raise CommandError("several tables do not fit on standard output. Pass --long.")
    outputs = [
        Path(name) for name in (args.output, args.report) if name not in ("-", None)
    ]
    for path in outputs:
        if path.is_dir():
            raise CommandError(f"cannot write {path}: it is a directory.")
        if not path.resolve().parent.is_dir():
            raise CommandError(f"cannot write {path}: there is no such directory.")
        if not os.access(path.resolve().parent, os.W_OK):
            raise CommandError(f"cannot write {path}: permission denied.")
        if args.input != "-" and path.exists() and path.samefile(Path(args.input)):
            raise CommandError(f"{path} is the input. Write to another file.")
    if args.report:
        if args.output != "-" and Path(args.report).resolve() == outputs[0].resolve():
            raise CommandError("--report and --output name the same file.")
        _check_picture(args.report)


def _check_picture(name):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError(
            '--report needs matplotlib. Install it with: pip install "skimpute[plot]"'
        ) from None
    known = Figure().canvas.get_supported_filetypes()
    suffix = Path(name).suffix.lstrip(".").lower()
    if suffix not in known:
        raise CommandError(
            f"--report {name}: unknown kind of picture {suffix!r}. Use one of "
            f"{', '.join(sorted(known))}."
        )


def _complete(table, args):
    """Completed frames of the used columns: one answer, or several draws."""
    frame, count = table.frame, args.n_imputations
    if not table.n_gaps:
        _say("warning: there are no gaps to fill, the table is copied.")
        if args.report:
            _write_report(args.report, frame, [], f"{_title(args)}: no gaps")
        return [frame] * (count or 1)
    options = {"random_state": args.seed}
    if args.max_seconds is not None:
        options["max_seconds"] = args.max_seconds
    imputer = _estimator(args.method, options).fit(frame)
    draws = []
    if count is not None or args.report:
        draws = imputer.sample(frame, n_imputations=count, random_state=args.seed)
    if args.report:
        title = f"{_title(args)}: {len(frame):,} rows, {type(imputer).__name__}"
        _write_report(args.report, frame, draws, title, imputer)
    return [imputer.transform(frame)] if count is None else draws


def _title(args):
    return "standard input" if args.input == "-" else Path(args.input).name


def _estimator(method, options):
    """Return an unfitted imputer; bars on a terminal, silence in a pipe."""
    from importlib import import_module

    module, name = _METHODS[method]
    imputer = getattr(import_module(module), name)()
    options = {"verbose": int(sys.stderr.isatty()), **options}
    unknown = set(options) - set(imputer.get_params())
    if unknown:
        option = "--" + sorted(unknown)[0].replace("_", "-")
        raise CommandError(f"{option} does not work with --method {method}.")
    return imputer.set_params(**options)


# -- files ---------------------------------------------------------------------------


def _read(args):
    from skimpute.core.textfile import TextTable, read_text, separator

    title = _title(args)
    text = read_text(args.input, separator(args.sep, args.input), title)
    _check_names(args, text.columns)
    table = TextTable(
        text, missing=args.missing, categorical=args.categorical, ignore=args.ignore
    )
    if not table.used:
        raise CommandError(f"{title}: no column is left to work on.")
    return table


def _check_names(args, names):
    for option in ("categorical", "ignore"):
        for name in getattr(args, option):
            if name not in names:
                raise CommandError(
                    f"--{option}: there is no column {name!r}. Columns are: "
                    f"{', '.join(map(str, names))}."
                )
    both = sorted(set(args.categorical) & set(args.ignore))
    if both:
        raise CommandError(
            f"column {both[0]!r} is named by --categorical and --ignore."
        )


def _write_tables(tables, args):
    from skimpute.core.textfile import (
        numbered_names,
        separator,
        stack_long,
        write_files,
    )

    if args.long:
        tables = [stack_long(tables)]
    options = {"sep": separator(args.sep, args.output), "index": False}
    if args.output == "-":
        sys.stdout.write(tables[0].to_csv(lineterminator="\n", **options))
        return
    several = len(tables) > 1
    names = numbered_names(args.output, len(tables)) if several else [args.output]
    writers = [partial(table.to_csv, **options) for table in tables]
    write_files(dict(zip(names, writers, strict=True)))


def _write_report(name, frame, draws, title, imputer=None):
    from skimpute.core.textfile import write_files
    from skimpute.display import plot_report

    history = getattr(imputer, "history_", None)
    figure = plot_report(frame, draws, history=history, title=title)
    write_files({name: figure.savefig})


# -- demo ----------------------------------------------------------------------------


def _demo(args):
    from skimpute.core.textfile import write_files
    from skimpute.datasets import load_penguins

    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--output-dir {folder}: it is not a directory.")
    folder.mkdir(parents=True, exist_ok=True)
    penguins = load_penguins()
    _print_gaps(penguins)
    start = time.perf_counter()
    imputer = _estimator("vaeac", {"random_state": 0}).fit(penguins)
    fitted = time.perf_counter()
    completed = imputer.transform(penguins)
    draws = imputer.sample(penguins, n_imputations=100, random_state=0)
    done = time.perf_counter()
    print(
        f"{type(imputer).__name__}: learned in {fitted - start:.1f} s, filled the gaps "
        f"and drew 100 more tables in {done - fitted:.1f} s"
    )
    _print_cells(penguins, completed, draws)
    table, picture = folder / "penguins_completed.csv", folder / "penguins_report.png"
    rounded = completed.round(2)  # known cells have one decimal, and keep it
    write_files({table: partial(rounded.to_csv, index=False)})
    print(f"\nwrote {table}: the completed table")
    try:
        title = f"Palmer penguins, {type(imputer).__name__}"
        _write_report(picture, penguins, draws[:10], title, imputer)
        print(f"wrote {picture}: what was missing, and what was filled in")
    except ImportError as error:
        print(f"no picture: {error}")


def _print_gaps(frame):
    gaps = frame.isna().sum()
    size = f"{len(frame)} rows, {frame.shape[1]} columns, {gaps.sum()} gaps"
    print(f"Palmer penguins: {size}")
    for name, count in gaps[gaps > 0].items():
        print(f"  {name:<18} {count:3d}")


def _print_cells(frame, completed, draws):
    """Print a few gaps, what was put there and what the draws say about it."""
    import pandas as pd

    print("\nSome of the gaps, and how sure their filling is:")
    gaps = frame.isna()
    rows = gaps.index[gaps.any(axis=1)][:2]
    for row in rows:
        about = frame.loc[row, ["species", "island", "year"]]
        print(f"  row {row + 1}, {' '.join(map(str, about))}")
        for name in frame.columns[gaps.loc[row]]:
            drawn = pd.Series([draw.loc[row, name] for draw in draws])
            value = completed.loc[row, name]
            if pd.api.types.is_numeric_dtype(frame[name]):
                low, high = drawn.astype(float).quantile([0.05, 0.95])
                sure = f"{value:8.1f}   90 % of draws: {low:.1f} to {high:.1f}"
            else:
                sure = f"{value:>8}   in {100 * (drawn == value).mean():.0f} % of draws"
            print(f"    {name:<18} {sure}")
