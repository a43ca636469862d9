"""Widgets: charts, form, adaptation, text."""
