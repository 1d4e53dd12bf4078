"""Tasks: small data sets that are generated when they are asked for."""
