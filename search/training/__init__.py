"""Training programs: asking for trainings, never repeating one, in this process or on Ray workers; tuning."""
