"""Running: sessions, worker processes and the control socket."""
