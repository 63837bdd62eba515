"""What a sweep's file says, and what follows from it before anything runs: points, shares, checks. Knows no Ray."""
