"""The optimizer language: programs, their checks, keys, mutations and interpretations. Knows nothing of training."""

from programs.errors import InputError
from programs.hashing import dataflow_hash, structure_hash
from programs.liveness import live, live_program
from programs.program import Program, Statement, parse

__all__ = ["InputError", "Program", "Statement", "dataflow_hash", "live", "live_program", "parse", "structure_hash"]
