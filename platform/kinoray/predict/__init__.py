"""Predicting a bucket of videos: what is listed, what is scored, what a row says. Knows no Ray."""
