"""Evaluation, comparison, reports and export of saved runs."""
