"""Tables and progress on the command line."""
