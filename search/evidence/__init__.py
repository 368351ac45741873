"""Whether a program found is better: funnels, locked proofs, comparisons of searches, simplification."""
