"""Training and evaluation in plain torch; knows nothing of Ray."""
