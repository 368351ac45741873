"""The search itself: drawing programs, committing batches in birth order, continuing where a run stopped."""
