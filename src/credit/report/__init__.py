"""One HTML page per run, made from the files of the run directory only; never imports the trainer."""

from credit.report.page import write_report

__all__ = ["write_report"]
