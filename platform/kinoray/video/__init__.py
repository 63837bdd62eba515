"""Reading video: exact frames from a container, which frames to read, and what a file holds."""
