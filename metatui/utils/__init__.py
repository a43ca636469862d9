"""Small helpers without a domain: errors, files, text, paths, subprocesses."""
