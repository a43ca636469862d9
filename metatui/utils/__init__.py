"""General helpers: errors, files, text, paths, child processes."""
