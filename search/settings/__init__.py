"""What is chosen before anything runs: settings and the files they are read from, seeds, baselines."""
