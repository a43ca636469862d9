"""Suites in the app: started in the background, watched, stopped, gone on with, and compared."""
