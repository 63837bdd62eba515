"""Code of one's own for Kinoray: one of each kind, used by recipe.yaml. docs/extending.md walks through it."""
