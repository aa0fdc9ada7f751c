"""`python -m aimc_robust`."""

from aimc_robust.cli import main

main()
