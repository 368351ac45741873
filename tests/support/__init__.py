"""What several test files use: references to compare with, small searches, servers, processes."""
