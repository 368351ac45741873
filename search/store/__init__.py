"""The database that runs write: everything that was drawn, trained, tuned and exported.

Names are loaded when they are first asked for: words and keys of the store are known without SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from programs.later import names_of

if TYPE_CHECKING:
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
        ProxyMeasurementRow,
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
    "ProxyMeasurementRow",
    "SelectionRow",
    "Store",
    "StoreError",
    "VerdictRow",
    "open_store",
]

__getattr__ = names_of(__name__, {
    "BaselineRow": "search.store.tables",
    "Heartbeat": "search.store.lease",
    "Lease": "search.store.lease",
    "LeaseLost": "search.store.errors",
    "MetaValidationRow": "search.store.tables",
    "NoiseRow": "search.store.tables",
    "ProgramRow": "search.store.tables",
    "ProofRow": "search.store.tables",
    "ProposalRow": "search.store.tables",
    "ProxyMeasurementRow": "search.store.tables",
    "SelectionRow": "search.store.tables",
    "Store": "search.store.store",
    "StoreError": "search.store.errors",
    "VerdictRow": "search.store.tables",
    "open_store": "search.store.opening",
})  # fmt: skip
