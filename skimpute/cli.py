"""The command ``skimpute``: complete a CSV file, or show what that looks like.

Cells that hold something are written as they were read, to the letter: the text of a
file is kept beside the table that is made of it, and only gaps are filled in.
"""

import argparse
import io
import os
import re
import shutil
import sys
import time
import warnings
from pathlib import Path

# numpy, pandas and the estimators are imported where they are used: `--help` is quick.

_METHODS = {
    "vaeac": ("skimpute.vaeac", "VAEACImputer"),
    "mice": ("skimpute.baselines", "MICEImputer"),
    "missforest": ("skimpute.baselines", "MissForestImputer"),
}
_GAPS = frozenset(
    ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL"]
    + ["null", "None"]
)
_INTEGER = r"[+-]?(?:0|[1-9]\d*)"
_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = _DATE + r"[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?"


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
    try:
        args = _parser().parse_args(argv)
        with warnings.catch_warnings():
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
    add("--statistic", choices=["mean", "median"], help="of the best answer [mean]")
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
    _write_tables(table, completed, args)
    if sys.stderr.isatty():
        gaps = int(table.gaps[table.used].to_numpy().sum())
        seconds = time.monotonic() - start
        _say(f"filled {gaps:,} gaps of {len(table.text):,} rows in {seconds:.1f} s")


def _check_outputs(args):
    """Say now what could not be written after minutes of training."""
    if args.long and args.n_imputations is None:
        raise CommandError("--long needs --n-imputations M. Pass for example 5.")
    several = args.n_imputations is not None and args.n_imputations > 1
    if args.output == "-" and several and not args.long:
        raise CommandError("several tables do not fit on standard output. Pass --long.")
    if args.statistic and args.n_imputations is not None:
        raise CommandError(
            "--statistic belongs to a single best answer; leave it out, or leave out "
            "--n-imputations."
        )
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
    if not table.gaps[table.used].to_numpy().any():
        _say("warning: there are no gaps to fill, the table is copied.")
        if args.report:
            _write_report(args.report, frame, [], f"{_title(args)}: no gaps")
        return [frame] * (count or 1)
    imputer = _estimator(args.method, _options(args)).fit(frame)
    draws = []
    if count is not None or args.report:
        draws = imputer.sample(frame, n_imputations=count, random_state=args.seed)
    if args.report:
        title = f"{_title(args)}: {len(frame):,} rows, {type(imputer).__name__}"
        _write_report(args.report, frame, draws, title, imputer)
    return [imputer.transform(frame)] if count is None else draws


def _title(args):
    return "standard input" if args.input == "-" else Path(args.input).name


def _options(args):
    options = {"random_state": args.seed}
    if args.statistic:
        options["statistic"] = args.statistic
    if args.max_seconds is not None:
        options["max_seconds"] = args.max_seconds
    return options


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


# -- reading -------------------------------------------------------------------------


class _Table:
    """Text of a file, where its gaps are, and a typed frame of the used columns."""

    def __init__(self, text, gaps, frame):
        self.text = text
        self.gaps = gaps
        self.frame = frame
        self.used = list(frame.columns)


def _read(args):
    import pandas as pd

    text = _read_text(args)
    _check_names(args, text.columns)
    gaps = text.apply(lambda cells: cells.str.strip().isin(_GAPS | set(args.missing)))
    columns = {}
    for name in text.columns:
        if name not in args.ignore:
            known = text[name].mask(gaps[name]).astype(object)
            known = known.where(known.notna(), None)
            typed = _typed(known, name in args.categorical)
            if typed is not None:
                columns[name] = typed
    if not columns:
        raise CommandError(f"{_title(args)}: no column is left to work on.")
    return _Table(text, gaps, pd.DataFrame(columns))


def _read_text(args):
    """All cells of the file as text; every cause of failure becomes one line."""
    import pandas as pd

    name = _title(args)
    sep = args.sep or ("\t" if ".tsv" in Path(args.input).suffixes else ",")
    sep = {"\\t": "\t"}.get(sep, sep)
    if len(sep) != 1:
        raise CommandError(f"--sep must be one character, got {sep!r}.")
    source = sys.stdin.buffer if args.input == "-" else args.input
    if args.input != "-" and not Path(args.input).is_file():
        what = "it is a directory" if Path(args.input).is_dir() else "no such file"
        raise CommandError(f"cannot read {args.input}: {what}.")
    options = {"header": None, "dtype": str, "na_filter": False}
    try:
        text = pd.read_csv(source, sep=sep, encoding="utf-8-sig", **options)
    except UnicodeDecodeError as error:
        raise CommandError(
            f"cannot read {name}: it is not UTF-8 text ({error})."
        ) from None
    except pd.errors.EmptyDataError:
        raise CommandError(f"cannot read {name}: it is empty.") from None
    except (pd.errors.ParserError, OSError, EOFError) as error:
        raise CommandError(f"cannot read {name}: {error}") from None
    text = text.fillna("").astype(object)  # rows that end early
    names = [str(cell) for cell in text.iloc[0]]
    text = text.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    _check_header(name, names, len(text), sep)
    return text


def _check_header(file, names, n_rows, sep):
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CommandError(f"{file}: column name {twice[0]!r} appears more than once.")
    if n_rows == 0:
        raise CommandError(f"{file}: there is a header but no row.")
    if len(names) == 1:
        for other, shown in ((";", ";"), ("\t", "\\t"), ("|", "|"), (",", ",")):
            if other in names[0] and other != sep:
                raise CommandError(
                    f"{file}: only one column was found. Pass --sep '{shown}'?"
                )


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


def _typed(known, categorical):
    """Series of numbers, truth values, dates or texts; None to leave the column out."""
    import pandas as pd

    values = known.dropna()
    if len(values) == 0:
        _say(f"warning: column {known.name!r} is empty and stays so.")
        return None
    if categorical:
        return known.astype("category")
    if _all_match(values, _INTEGER) and values.str.len().max() <= 18:
        whole = known.map(int, na_action="ignore").astype("Int64")
        return whole if len(values) < len(known) else whole.astype("int64")
    # Leading zeros are no number: postcodes, telephone numbers, identifiers.
    if not values.str.match(r"[+-]?0\d").any():
        numbers = pd.to_numeric(values, errors="coerce")
        if numbers.notna().all():
            return numbers.astype("float64").reindex(known.index)
    if values.str.lower().isin(["true", "false"]).all():
        truth = known.str.lower().map({"true": True, "false": False})
        return truth.astype("boolean")
    if _all_match(values, _DATE) or _all_match(values, _TIME):
        dates = pd.to_datetime(known, format="ISO8601", errors="coerce")
        if dates.notna().sum() == len(values):
            return dates
    return _typed_text(known, values)


def _typed_text(known, values):
    different = values.nunique()
    if different > 20 and different > 0.5 * len(values):
        _say(
            f"warning: column {known.name!r} holds {different:,} different texts: "
            f"copied, neither used nor filled. Pass --categorical {known.name!r} to "
            "use it."
        )
        return None
    return known.astype("category")


def _all_match(values, pattern):
    return bool(values.str.fullmatch(pattern).all())


# -- writing -------------------------------------------------------------------------


def _write_tables(table, completed, args):
    tables = [_filled_text(table, frame) for frame in completed]
    if args.long:
        tables = [_long(tables)]
    if len(tables) == 1:
        return _write_all([args.output], tables, args)
    path = Path(args.output)
    stem = path.name.removesuffix("".join(path.suffixes[-2:]))
    if len(path.suffixes) < 2 or path.suffixes[-1] not in (
        ".gz",
        ".bz2",
        ".xz",
        ".zip",
    ):
        stem = path.stem
    ending = path.name[len(stem) :]
    names = [path.with_name(f"{stem}_{k}{ending}") for k in range(1, len(tables) + 1)]
    return _write_all(names, tables, args)


def _long(tables):
    import pandas as pd

    if "imputation" in tables[0].columns:
        raise CommandError("--long: the table has a column 'imputation' already.")
    numbered = [
        table.assign(imputation=str(k))[["imputation", *table.columns]]
        for k, table in enumerate(tables, start=1)
    ]
    return pd.concat(numbered, ignore_index=True)


def _filled_text(table, frame):
    """Text of the file with the gaps of the used columns filled in."""
    text = table.text.copy()
    for name in table.used:
        gap = table.gaps[name]
        if gap.any():
            known = table.text.loc[~gap, name]
            filled = _as_text(frame.loc[gap, name], known, table.frame[name])
            text.loc[gap, name] = filled
    return text


def _as_text(filled, known, typed):
    """Imputed values written the way the column writes its own."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(typed):
        spelled = known.groupby(known.str.lower()).agg("first")
        return [spelled.get(str(value).lower(), str(value)) for value in filled]
    if pd.api.types.is_datetime64_any_dtype(typed):
        if _all_match(known, _DATE):
            return [value.strftime("%Y-%m-%d") for value in filled]
        between = "T" if known.str.contains("T").all() else " "
        return [value.isoformat(between, "seconds") for value in filled]
    if pd.api.types.is_float_dtype(typed):
        places = _decimals(known)
        return [_number(float(value), places) for value in filled]
    return [str(value) for value in filled]


def _decimals(known):
    """Decimal places of a column, two more for imputed values; None: as they come."""
    if known.str.contains("e", case=False).any() or len(known) == 0:
        return None
    return max(len(cell.strip().partition(".")[2]) for cell in known) + 2


def _number(value, places):
    if places is None:
        return repr(value)
    text = f"{value:.{places}f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _write_all(names, tables, args):
    """Write all files, or none: first beside their places, then into them."""
    sep = args.sep or ("\t" if ".tsv" in Path(args.output).suffixes else ",")
    sep = {"\\t": "\t"}.get(sep, sep)
    if names == ["-"]:
        text = io.StringIO()
        tables[0].to_csv(text, sep=sep, index=False, lineterminator="\n")
        sys.stdout.write(text.getvalue())
        return

    def writer(table):
        return lambda part: table.to_csv(part, sep=sep, index=False)

    _write_files({name: writer(t) for name, t in zip(names, tables, strict=True)})


def _write_report(name, frame, draws, title, imputer=None):
    from skimpute.display import plot_report

    history = getattr(imputer, "history_", None)
    figure = plot_report(frame, draws, history=history, title=title)
    _write_files({name: figure.savefig})


def _write_files(writers):
    """Write files that appear only when all of them are complete."""
    parts = {}
    try:
        for name, write in writers.items():
            target = Path(os.path.realpath(name))
            if target.exists() and not target.is_file():
                write(str(target))  # a device such as /dev/null
                continue
            # The ending stays: it names the compression or the kind of picture.
            part = target.with_name(f".{os.getpid()}.part.{target.name}")
            parts[part] = target
            write(str(part))
        for part, target in parts.items():
            if target.exists():
                shutil.copymode(target, part)
            os.replace(part, target)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


# -- demo ----------------------------------------------------------------------------


def _demo(args):
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
    _write_files({table: lambda part: rounded.to_csv(part, index=False)})
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
