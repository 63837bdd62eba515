"""Configs of MMAction2 1.x: read without running anything, and translated to recipes."""
