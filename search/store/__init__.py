"""The database that runs write: everything that was born, trained, tuned and exported."""

from search.store.errors import LeaseLost, StoreError
from search.store.lease import Heartbeat, Lease
from search.store.opening import open_store
from search.store.rows import BaselineRow, IndividualRow, MetaValidationRow, NoiseRow, Opening, ProofRow, SelectionRow
from search.store.store import Store

__all__ = [
    "BaselineRow",
    "Heartbeat",
    "IndividualRow",
    "Lease",
    "LeaseLost",
    "MetaValidationRow",
    "NoiseRow",
    "Opening",
    "ProofRow",
    "SelectionRow",
    "Store",
    "StoreError",
    "open_store",
]
