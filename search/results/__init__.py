"""What runs have found, read from the store: the only reader of results."""
