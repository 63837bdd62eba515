"""Video recognizers: one file per family, shared layers in ``layers``, weights in ``weights.py``."""
