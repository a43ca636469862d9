"""Regression tasks from a table: reading CSV and Parquet files, and the tasks made from their rows."""
