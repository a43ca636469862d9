"""The terminal: keyboard, character sets, redirection, suspension."""
