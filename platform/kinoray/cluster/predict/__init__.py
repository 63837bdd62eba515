"""Batch prediction on Ray: workers take shards of a listing from a desk, score them, and write each as a whole."""
