"""Submit to the leaderboard, check a submission, and build the page.

    python -m benchmarks.leaderboard submit RESULTS --name NAME --who WHO --what WHAT
    python -m benchmarks.leaderboard check NAME
    python -m benchmarks.leaderboard build

`submit` makes submissions/NAME of a results folder of `compare`; `check` says whether a submission is accepted; `build`
checks all of them and writes leaderboard-1.html and leaderboard-1.md. If one is refused, nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimc_robust.errors import AimcError, InputError
from aimc_robust.io.toml import parse
from aimc_robust.report.page_files import page_files, write_files

from .benchmark import BENCHMARK, fixed_part
from .check import ROWS_PER_METHOD, check
from .page import CheckedSubmission, leaderboard_page
from .submission import SUBMISSIONS, About, opened, submit


def parser() -> argparse.ArgumentParser:
    """Return the options of the three commands."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = options.add_subparsers(dest="command", required=True)
    make = commands.add_parser("submit", help="make a submission of a results folder")
    make.add_argument("results", type=Path, help="results folder of `aimc-robust compare`")
    make.add_argument("--name", required=True, help="name of the submission: a-z, 0-9 and -")
    make.add_argument("--who", required=True, help="who submits, one line")
    make.add_argument("--what", required=True, help="what the methods are and how settings were chosen, one line")
    for name, text in (("check", "check a submission"), ("build", "check all submissions and write the page")):
        command = commands.add_parser(name, help=text)
        if name == "check":
            command.add_argument("name", help="name of the submission")
        command.add_argument("--sample-seed", type=int, default=0, help="chooses the rows that are evaluated again")
        command.add_argument(
            "--rows", type=int, default=ROWS_PER_METHOD, help="rows of each method that are evaluated again"
        )
    for command in commands.choices.values():
        command.add_argument("--benchmark", type=Path, default=BENCHMARK, help="its fixed part; submissions are beside")
    return options


def checked(folder: Path, fixed: dict[str, Any], sample_seed: int, rows: int) -> CheckedSubmission:
    """Return a submission that passed all checks; raise AimcError with its name and the reason otherwise."""
    try:
        with opened(folder) as submission:
            done = check(submission, fixed, sample_seed=sample_seed, rows_per_method=rows)
            results = submission.results
            return CheckedSubmission(
                folder.name, submission.about, results.spec, results.estimates(), results.environments, done
            )
    except AimcError as error:
        raise InputError(f"{folder.name} is refused: {error}") from None


def build(benchmark: Path, sample_seed: int, rows: int) -> list[Path]:
    """Check all submissions, and write the page as HTML and Markdown beside the benchmark; return the files."""
    submissions, out, fixed = benchmark.parent / SUBMISSIONS, benchmark.parent, fixed_part(benchmark)
    folders = sorted(path for path in submissions.glob("*") if path.is_dir())
    if not folders:
        raise InputError(f"{submissions} holds no submission; make one with `submit`.")
    page = leaderboard_page([checked(folder, fixed, sample_seed, rows) for folder in folders])
    files = {name: text for name, text in page_files(page, page.title).items() if not name.endswith(".png")}
    write_files(out, files)
    return [out / name for name in files]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 1 for what is refused."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "submit":
            about = parse({"who": options.who, "what": options.what}, About, source="submission")
            folder = submit(options.results, options.benchmark, options.name, about)
            print(f"submission: {folder}")
        elif options.command == "check":
            folder, fixed = options.benchmark.parent / SUBMISSIONS / options.name, fixed_part(options.benchmark)
            done = checked(folder, fixed, options.sample_seed, options.rows).verification
            print(
                f"{options.name} is accepted: {done.rows} rows evaluated again, which differ by at most "
                f"{done.accuracy:.2f} points and {100 * done.loss:.2g} % of the loss."
            )
        else:
            for path in build(options.benchmark, options.sample_seed, options.rows):
                print(f"wrote {path}")
    except AimcError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
