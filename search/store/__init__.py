"""The database that runs write: everything that was born, trained, tuned and exported."""

from search.store.errors import LeaseLost, StoreError
from search.store.lease import Heartbeat, Lease
from search.store.opening import open_store
from search.store.rows import BaselineRow, MetaValidationRow, NoiseRow, Opening, ProgramRow, ProofRow, SelectionRow
from search.store.store import Store

__all__ = [
    "BaselineRow",
    "Heartbeat",
    "Lease",
    "LeaseLost",
    "MetaValidationRow",
    "NoiseRow",
    "Opening",
    "ProgramRow",
    "ProofRow",
    "SelectionRow",
    "Store",
    "StoreError",
    "open_store",
]
