"""Reports: runs and their comparison as one page that stands alone, in HTML or Markdown."""

from metatui.runs.comparison.exports.report.html import as_html
from metatui.runs.comparison.exports.report.markdown import as_markdown

__all__ = ["as_html", "as_markdown"]
