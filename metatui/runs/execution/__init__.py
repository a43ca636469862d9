"""Sessions, worker processes and the control socket."""
