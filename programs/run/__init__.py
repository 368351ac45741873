"""Programs run: by NumPy, which is their meaning, and by torch for many replicas at once."""
