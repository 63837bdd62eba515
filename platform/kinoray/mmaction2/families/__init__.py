"""Translations of MMAction2's networks, by what they look at."""
