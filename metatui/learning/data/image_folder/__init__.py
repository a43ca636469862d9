"""The user's own images, one folder for each class."""
