"""Controllers that the app owns, and the model of a run."""
