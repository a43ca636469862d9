"""Reports of runs and their comparison as HTML or Markdown.

An HTML report is one file that needs no other file and no network. A Markdown report has its figures beside it.
"""

from metatui.runs.analysis.report.render import REPORTS, as_html, as_markdown, write

__all__ = ["REPORTS", "as_html", "as_markdown", "write"]
