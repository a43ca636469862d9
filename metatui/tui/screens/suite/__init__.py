"""Suite screen: lists of runs, started, watched, stopped and compared."""
