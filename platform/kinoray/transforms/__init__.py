"""Pure functions on clips, each with its frozen configuration."""
