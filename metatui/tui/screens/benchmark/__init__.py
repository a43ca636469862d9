"""A benchmark in words and marks, for the command line and the app alike. Needs neither torch nor textual."""
