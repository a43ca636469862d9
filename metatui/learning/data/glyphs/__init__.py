"""Generated characters: the drawing of their images, and tasks with these images."""
