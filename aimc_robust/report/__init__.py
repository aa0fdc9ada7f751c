"""The report of a comparison, a pure function of the rows in its folder."""

from aimc_robust.report.page import write_report

__all__ = ["write_report"]
