"""A recognizer behind HTTP, on Ray Serve: only ``replica`` and ``run`` know of Ray."""
