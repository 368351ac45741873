"""What a search found, as one HTML page: made from the SQL views alone, and nothing in it needs a network."""

from search.commands.report import watch_report, write_report

__all__ = ["watch_report", "write_report"]
