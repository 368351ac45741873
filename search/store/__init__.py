"""The database that runs write: everything that was drawn, trained, tuned and exported."""

from search.store.errors import LeaseLost, StoreError
from search.store.lease import Heartbeat, Lease
from search.store.opening import open_store
from search.store.store import Store
from search.store.tables import (
    BaselineRow,
    MetaValidationRow,
    NoiseRow,
    ProgramRow,
    ProofRow,
    ProposalRow,
    SelectionRow,
    VerdictRow,
)

__all__ = [
    "BaselineRow",
    "Heartbeat",
    "Lease",
    "LeaseLost",
    "MetaValidationRow",
    "NoiseRow",
    "ProgramRow",
    "ProofRow",
    "ProposalRow",
    "SelectionRow",
    "Store",
    "StoreError",
    "VerdictRow",
    "open_store",
]
