"""Execution of runs: sessions, worker processes and the control socket."""
