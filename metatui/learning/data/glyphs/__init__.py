"""Generated characters: rendering of their images, and tasks with these images."""
