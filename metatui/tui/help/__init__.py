"""Help texts, and a search for words in them."""
