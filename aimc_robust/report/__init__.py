"""Reports, a pure function of the rows in a folder."""

from aimc_robust.report.advice_page import write_advice
from aimc_robust.report.page import report_is_current, write_report

__all__ = ["report_is_current", "write_advice", "write_report"]
