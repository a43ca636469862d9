"""Reports of runs and their comparison as HTML or Markdown.

An HTML report is a single self-contained file. The figures of a Markdown report are written next to it.
"""

from metatui.runs.analysis.report.render import REPORTS, as_html, figure_files, write

__all__ = ["REPORTS", "as_html", "figure_files", "write"]
