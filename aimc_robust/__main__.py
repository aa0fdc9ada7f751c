"""`python -m aimc_robust`."""

from aimc_robust.cli.app import main

main()
