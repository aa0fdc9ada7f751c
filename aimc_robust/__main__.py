"""`python -m aimc_robust`, and the entry point of `aimc-robust`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is imported ends with one line too."""
    try:
        from aimc_robust.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
