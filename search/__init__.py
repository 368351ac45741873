"""The engine: evolutionary search over programs, its evaluators, its store and its commands."""
