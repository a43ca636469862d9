"""Terminal support: keyboard, character sets, redirection, suspension."""
