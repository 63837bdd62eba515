"""Typed configuration: the frozen base, tables of kinds, and recipe files with the origin of every value."""
