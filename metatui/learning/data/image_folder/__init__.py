"""The user's own images, in one folder for each class."""
