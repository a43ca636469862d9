"""Suite screen: start, watch and stop suites, which are lists of runs, and compare their runs."""
