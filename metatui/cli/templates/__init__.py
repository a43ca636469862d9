"""Complete plugins that `metatui plugin` prints: starting points for a user's own model, algorithm or data set."""
