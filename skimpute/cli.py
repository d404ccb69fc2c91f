"""The command ``skimpute``: complete a table in a file, or compare who does it best.

Cells that hold something are written as they were read, to the letter: the text of a
file is kept beside the table that is made of it, and only gaps are filled in.
"""

import argparse
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path

from skimpute.core import arguments
from skimpute.core.arguments import CommandError, Parser

# numpy, pandas and the estimators are imported where they are used: `--help` is quick.

_METHODS = {
    "vaeac": ("skimpute.vaeac", "VAEACImputer"),
    "gaussian": ("skimpute.gaussian", "GaussianImputer"),
    "mice": ("skimpute.baselines", "MICEImputer"),
    "missforest": ("skimpute.baselines", "MissForestImputer"),
    "gain": ("skimpute.gain", "GAINImputer"),
    "mean": ("skimpute.core.marginal", "MarginalImputer"),
}
_COMPARED = ["mean", "gaussian", "mice", "missforest", "vaeac"]


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


class _Version(argparse.Action):
    """Print the version; read only when it is asked for."""

    def __call__(self, parser, namespace, values, option_string=None):
        from skimpute import __version__

        print(f"skimpute {__version__}")
        parser.exit()


def _parser():
    parser = Parser(
        prog="skimpute",
        description="Fill the gaps of tables, and say how sure that is.",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the version and leave"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_impute(commands)
    _add_compare(commands)
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
        help="fill the gaps of a CSV or Parquet file",
        description="Fill the gaps of a CSV file (empty cells, NA, NaN, null, None) or "
        "of a Parquet file. Cells that hold something are copied as they are.",
    )
    add = impute.add_argument
    add("input", metavar="in.csv", help="file to read, '-' for standard input")
    add("-o", "--output", required=True, metavar="out.csv", help="'-' for output")
    add("--method", choices=list(_METHODS), default="vaeac", help="[vaeac]")
    add(
        "--n-imputations",
        type=arguments.count,
        metavar="M",
        help="draw M tables instead of one best answer; they go to out_1.csv, ...",
    )
    add("--long", action="store_true", help="one long table with a column imputation")
    _add_table_options(impute)
    add("--report", metavar="PNG", help="draw gaps and imputed values (png, pdf, svg)")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same answer [0]")
    add(
        "--max-seconds",
        type=arguments.seconds,
        metavar="S",
        help="stop training after that",
    )
    impute.set_defaults(run=_impute)


def _add_hiding(add):
    """Options that say which known cells are hidden, and how often."""
    add(
        "--mechanism",
        choices=["mcar", "mar", "mnar"],
        default="mcar",
        help="hide cells completely at random, because of other columns, or because of "
        "their own values [mcar]",
    )
    add(
        "--rate",
        type=arguments.share,
        default=0.2,
        metavar="R",
        help="share to hide [0.2]",
    )
    add(
        "--repeats",
        type=arguments.count,
        default=3,
        metavar="N",
        help="hide N times [3]",
    )
    add(
        "--new-rows",
        type=arguments.share,
        metavar="R",
        help="keep that share of the rows from training, and score only these",
    )
    add(
        "--n-imputations",
        type=arguments.count,
        default=100,
        metavar="M",
        help="draws of each hidden cell [100]",
    )


def _add_compare(commands):
    compare = commands.add_parser(
        "compare",
        help="find the method that is best on a table",
        description="Hide known cells of a CSV or Parquet file, fill them by several "
        "methods, and print how far off each one is. The best comes first.",
    )
    add = compare.add_argument
    add("input", metavar="in.csv", help="file to read, '-' for standard input")
    add("-o", "--output", metavar="table.csv", help="write the numbers, '-' for output")
    add(
        "--methods",
        nargs="+",
        type=arguments.names,
        default=[_COMPARED],
        metavar="NAME",
        help=f"of {', '.join(_METHODS)} [{' '.join(_COMPARED)}]",
    )
    _add_hiding(add)
    _add_table_options(compare)
    add("--plot", metavar="PNG", help="draw scores and coverage (png, pdf, svg)")
    add(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="fits side by side, -1: all [1]",
    )
    add("--seed", type=int, default=0, metavar="N", help="same seed, same answer [0]")
    add(
        "--max-seconds",
        type=arguments.seconds,
        metavar="S",
        help="stop each training by epochs after that",
    )
    compare.set_defaults(run=_compare)


def _add_table_options(command):
    """Add what says how a table is to be read."""
    add, listed = command.add_argument, {"type": arguments.names, "default": []}
    text = "columns to treat as categories although they hold numbers"
    add("--categorical", metavar="A,B", help=text, **listed)
    text = "columns to copy, neither used nor filled (identifiers, free text)"
    add("--ignore", metavar="A,B", help=text, **listed)
    text = "more texts that mean a gap, for instance '?' or -999"
    add("--missing", metavar="X,Y", help=text, **listed)
    add("--sep", metavar="CHAR", help="separator [',', tab for .tsv]")


# -- impute --------------------------------------------------------------------------


def _impute(args):
    start = time.monotonic()
    if args.long and args.n_imputations is None:
        raise CommandError("--long needs --n-imputations M. Pass for example 5.")
    several = args.n_imputations is not None and args.n_imputations > 1
    if args.output == "-" and several and not args.long:
        raise CommandError("several tables do not fit on standard output. Pass --long.")
    _check_outputs(args, "--report", args.report)
    table = _read(args)
    completed = _complete(table, args)
    _write(table, completed, args)
    if sys.stderr.isatty():
        seconds = time.monotonic() - start
        size = f"{table.n_gaps:,} gaps of {len(table.frame):,} rows"
        _say(f"filled {size} in {seconds:.1f} s")


def _check_outputs(args, option, picture):
    """Say now what could not be read, or written after minutes of training."""
    from skimpute.core.tablefile import need_parquet

    need_parquet(args.input, args.output)
    outputs = [Path(name) for name in (args.output, picture) if name not in ("-", None)]
    for path in outputs:
        if path.is_dir():
            raise CommandError(f"cannot write {path}: it is a directory.")
        if not path.resolve().parent.is_dir():
            raise CommandError(f"cannot write {path}: there is no such directory.")
        if not os.access(path.resolve().parent, os.W_OK):
            raise CommandError(f"cannot write {path}: permission denied.")
        if args.input != "-" and path.exists() and path.samefile(Path(args.input)):
            raise CommandError(f"{path} is the input. Write to another file.")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise CommandError(f"{option} and --output name the same file.")
    if picture:
        _check_picture(option, picture)


def _check_picture(option, name):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError(
            f'{option} needs matplotlib. Install it with: pip install "skimpute[plot]"'
        ) from None
    known = Figure().canvas.get_supported_filetypes()
    suffix = Path(name).suffix.lstrip(".").lower()
    if suffix not in known:
        raise CommandError(
            f"{option} {name}: unknown kind of picture {suffix!r}. Use one of "
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
    imputer = _unset(method)
    options = {"verbose": int(sys.stderr.isatty()), **options}
    unknown = set(options) - set(imputer.get_params())
    if unknown:
        option = "--" + sorted(unknown)[0].replace("_", "-")
        raise CommandError(f"{option} does not work with --method {method}.")
    return imputer.set_params(**options)


def _unset(method):
    from importlib import import_module

    module, name = _METHODS[method]
    return getattr(import_module(module), name)()


# -- compare -------------------------------------------------------------------------


def _compare(args):
    from skimpute import masks
    from skimpute.selection import compare

    methods = [name for listed in args.methods for name in listed]
    imputers = _imputers(methods, args)
    _check_outputs(args, "--plot", args.plot)
    comparison = compare(
        imputers,
        _read(args).frame,
        mechanism=getattr(masks, args.mechanism.upper())(args.rate),
        n_repeats=args.repeats,
        new_rows=args.new_rows,
        n_imputations=args.n_imputations,
        refit=False,
        n_jobs=args.jobs,
        random_state=args.seed,
        verbose=int(sys.stderr.isatty()),
    )
    if args.output != "-":
        print(comparison)
    _write_comparison(comparison, args)


def _imputers(methods, args):
    """Imputers by name; a limit of seconds is for those that are trained by epochs."""
    imputers = {}
    for method in methods:
        if method not in _METHODS:
            raise CommandError(
                f"--methods: there is no {method!r}. Methods are: "
                f"{', '.join(_METHODS)}."
            )
        imputers[method] = _unset(method)
        if "max_seconds" in imputers[method].get_params():
            imputers[method].set_params(max_seconds=args.max_seconds)
    return imputers


def _write_comparison(comparison, args):
    from skimpute.core.tablefile import writer
    from skimpute.core.textfile import write_files

    table = comparison.table.join(comparison.std.add_suffix("_sd")).reset_index()
    files = {}
    if args.output == "-":
        writer(table, "-", args.sep)(sys.stdout, lineterminator="\n")
    elif args.output is not None:
        files[args.output] = writer(table, args.output, args.sep)
    if args.plot:
        from matplotlib.figure import Figure

        size = (9, 1.4 + 0.35 * len(table))
        figure = Figure(figsize=size, layout="constrained", dpi=120)
        comparison.plot(figure.subplots(1, 2))
        files[args.plot] = figure.savefig
    write_files(files)


# -- files ---------------------------------------------------------------------------


def _read(args):
    from skimpute.core.tablefile import read_table

    listed = ("missing", "categorical", "ignore")
    options = {name: getattr(args, name) for name in listed}
    return read_table(args.input, args.sep, _title(args), **options)


def _write(table, completed, args):
    from skimpute.core.tablefile import write_tables

    write_tables(table, completed, args.output, sep=args.sep, long=args.long)


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
