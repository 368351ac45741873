"""The database that runs write: everything that was born, trained, tuned and exported."""

from search.store.store import BaselineRow, IndividualRow, Store, open_store

__all__ = ["BaselineRow", "IndividualRow", "Store", "open_store"]
