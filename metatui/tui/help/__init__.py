"""Texts of the help, and a search for words in them."""
