"""What a search found, as one HTML page: made from the SQL views alone, and nothing in it needs a network."""
