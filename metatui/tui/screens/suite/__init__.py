"""Suite screen: start, watch, stop and compare lists of runs."""
