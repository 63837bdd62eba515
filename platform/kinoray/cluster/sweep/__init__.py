"""A sweep on Ray: Tune decides, warm Train workers take trial after trial, a record on disk is the truth."""
