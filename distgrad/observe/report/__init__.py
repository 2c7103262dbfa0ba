"""The report: run folders as one HTML page that needs nothing but a browser."""

from distgrad.observe.report.gather import Report, gather
from distgrad.observe.report.page import page, write_report

__all__ = ["Report", "gather", "page", "write_report"]
