"""Tasks: small data sets that are made on the spot."""
