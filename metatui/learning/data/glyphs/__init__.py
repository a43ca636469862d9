"""Generated alphabets: their drawing and their tasks."""
