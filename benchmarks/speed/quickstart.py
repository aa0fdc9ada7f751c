"""Claims: the quickstart takes under 4 minutes on 2 CPU cores and under 2 GB of memory; `--help` under 1 second.

    python benchmarks/speed/quickstart.py

Runs the commands in new processes, and prints wall time and peak memory as measured by the operating system.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = Path(__file__).parents[1] / "quickstart.toml"
COMMAND = [sys.executable, "-m", "aimc_robust"]


def run(*arguments: str) -> tuple[float, float]:
    """Run one command; return its wall time [s] and peak memory [GB]. Exits if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"aimc-robust {' '.join(arguments)} failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    helps = sorted(run("--help")[0] for _ in range(5))
    print(f"--help: median {helps[2]:.2f} s of 5 (claim: < 1 s)")
    with tempfile.TemporaryDirectory() as folder:
        wall, memory = run("compare", str(SPEC), "--jobs", "2", "--out", str(Path(folder) / "out"))
        again, _ = run("compare", str(SPEC), "--out", str(Path(folder) / "out"))
    print(f"quickstart: {wall:.0f} s (claim: < 240 s), peak memory {memory:.2f} GB (claim: < 2 GB)")
    print(f"the same command again, with nothing left to do: {again:.1f} s")


if __name__ == "__main__":
    main()
