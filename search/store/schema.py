"""Tables of the store. The migrations make them; these definitions are what queries are written with."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


# A search: its settings, its state, and who drives it.
search = Table(
    "search", metadata, _id(),
    Column("name", String(200), nullable=False, unique=True),  # what people call it
    Column("settings", JSON, nullable=False),
    Column("state", String(20), nullable=False),  # one of running, interrupted, finished
    Column("created", DateTime, nullable=False),
    Column("updated", DateTime, nullable=False),  # when something was last written for it
    Column("seconds", Float, nullable=False, default=0.0),  # spent in runs so far
    Column("holder", Text),  # who drives it, for people; this and the next three are null while nobody does
    Column("holder_token", String(32)),  # what whoever drives it writes with
    Column("holder_machine", Text),  # its machine, since it was last started
    Column("holder_pid", Integer),  # its process
    Column("heartbeat", Float),  # when the holder was last alive, in seconds by the clock of the database
)  # fmt: skip

# A birth: its parent, the mutation, the program with its keys, what answered it, its fitness.
program = Table(
    "program", metadata, _id(),
    Column("search_id", ForeignKey("search.id"), nullable=False),
    Column("birth", Integer, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("parent_birth", Integer),
    Column("mutation", String(20), nullable=False),  # one of start, insert, delete, modify, tune, random; +n for n more
    Column("genome", Text, nullable=False),
    Column("key", String(32), nullable=False),
    # one of training, reevaluation, hash, fingerprint, in_flight, rejection
    Column("answered_by", String(20), nullable=False),
    Column("statements", Integer, nullable=False),
    Column("live_statements", Integer, nullable=False),
    Column("state_slots", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("fitness", Float),
    Column("reason", Text),
    Column("dataflow_hash", String(32), nullable=False, server_default="unknown"),
    Column("rounds", Integer, nullable=False, server_default="1"),
    Column("variance", Float),
    Column("hurdle_losses", JSON(none_as_null=True)),  # training losses at the hurdles, of programs trained to the end
    UniqueConstraint("search_id", "birth"),
    Index("ix_program_fitness", "search_id", "answered_by", "fitness"),
    Index("ix_program_key", "key"),
)  # fmt: skip

# A training, of whatever search: searches share them.
training = Table(
    "training", metadata, _id(),
    Column("key", String(32), nullable=False),
    Column("task_fingerprint", String(32), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("task", String(200), nullable=False),
    Column("status", String(20), nullable=False),
    Column("fitness", Float),
    Column("curve", JSON, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("device", String(50), nullable=False),
    Column("reason", Text),
    Column("created", DateTime, nullable=False),
    UniqueConstraint("key", "task_fingerprint", "seed"),
)  # fmt: skip

# A tuned baseline of a search.
baseline = Table(
    "baseline", metadata, _id(),
    Column("search_id", ForeignKey("search.id"), nullable=False),
    Column("name", String(50), nullable=False),
    Column("genome", Text, nullable=False),
    Column("key", String(32), nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("weight_decay", Float, nullable=False),
    Column("fitness", Float),
    Column("trials", Integer, nullable=False),
    UniqueConstraint("search_id", "name"),
)  # fmt: skip

# A look at the best of a search on tasks that it never sees.
meta_validation = Table(
    "meta_validation", metadata, _id(),
    Column("search_id", ForeignKey("search.id"), nullable=False),
    Column("births", Integer, nullable=False),  # committed when the search's best was looked at
    Column("birth", Integer, nullable=False),  # of that best
    Column("fitness", Float, nullable=False),  # in the search
    Column("meta_fitness", Float),  # on the tasks that the search never sees; none where training there failed
    UniqueConstraint("search_id", "births"),
)  # fmt: skip

# A program or a baseline on a task of a stage of a funnel: as tuned there, on fresh seeds.
selection = Table(
    "selection", metadata, _id(),
    Column("funnel", String(200), nullable=False),
    Column("search", String(200), nullable=False),
    Column("stage", Integer, nullable=False),
    Column("competitor", String(200), nullable=False),  # a program or a baseline
    Column("program_id", ForeignKey("program.id")),  # none of baselines
    Column("task", String(200), nullable=False),
    Column("task_fingerprint", String(32), nullable=False),
    Column("trials", Integer, nullable=False),
    Column("learning_rate", Float, nullable=False),  # of programs, a factor on the update
    Column("weight_decay", Float, nullable=False),
    Column("genome", Text, nullable=False),  # as tuned
    Column("seeds", Integer, nullable=False),  # fresh ones, on which what follows was measured
    Column("fitness", Float),
    Column("standard_error", Float),
    Column("baseline", String(200), nullable=False),  # the one that is hardest to beat
    Column("ahead", Float),  # of it
    Column("ahead_error", Float),
    Column("z", Float),  # of being ahead, over all tasks of the stage
    Column("p", Float),  # corrected for the number of programs compared
    Column("passed", Integer, nullable=False),
    Column("created", DateTime, nullable=False),
    Column("stages", Integer, nullable=False, server_default="0"),  # of the funnel; 0 where nobody knows
    UniqueConstraint("funnel", "stage", "competitor", "task_fingerprint"),
)  # fmt: skip

# An opening of the locked tasks: for which finalist, and when.
opening = Table(
    "opening", metadata, _id(),  # of the locked tasks
    Column("program_id", ForeignKey("program.id"), nullable=False),  # the finalist for whom
    Column("dataflow_hash", String(32), nullable=False, unique=True),  # of it: once for whatever does the same
    Column("funnel", String(200), nullable=False),  # that it has passed
    Column("opened", DateTime, nullable=False),  # when
    Column("finished", DateTime),  # none while its proof is incomplete
)  # fmt: skip

# A finalist or a baseline on a locked task, as tuned there, and what was measured.
proof = Table(
    "proof", metadata, _id(),
    Column("opening_id", ForeignKey("opening.id"), nullable=False),
    Column("competitor", String(200), nullable=False),  # the finalist or a baseline
    Column("program_id", ForeignKey("program.id")),  # none of baselines
    Column("task", String(200), nullable=False),
    Column("task_fingerprint", String(32), nullable=False),
    Column("genome", Text, nullable=False),  # as tuned
    Column("learning_rate", Float, nullable=False),  # of programs, a factor on the update
    Column("weight_decay", Float, nullable=False),
    Column("trials", Integer, nullable=False),
    Column("trials_failed", Integer, nullable=False),
    Column("seeds", Integer, nullable=False),  # fresh ones
    Column("seeds_failed", Integer, nullable=False),
    Column("fitness", Float),  # on them
    Column("standard_error", Float),
    Column("ahead", Float),  # the finalist of this competitor
    Column("ahead_error", Float),
    Column("task_z", Float),
    Column("steps_to_adamw", Float),  # share of the task's steps that reaches tuned AdamW's loss, none if none does
    Column("tolerance", Float),  # decades of learning rates within 5 % of the best loss
    Column("one_setting", Float),  # with one setting for all tasks: loss over that of AdamW tuned for each, mean
    Column("state_per_weight", Float, nullable=False),  # numbers
    Column("step_time", Float, nullable=False),  # over that of torch's AdamW
    Column("z", Float),  # the finalist against this competitor, over all tasks
    Column("p", Float),  # corrected for the number of finalists that the locked tasks were opened for
    UniqueConstraint("opening_id", "competitor", "task_fingerprint"),
)  # fmt: skip

# What one training of a task says, measured with one optimizer.
task_noise = Table(
    "task_noise", metadata, _id(),
    Column("task", String(200), nullable=False),
    Column("task_fingerprint", String(32), nullable=False),
    Column("key", String(32), nullable=False),
    Column("genome", Text, nullable=False),  # the optimizer whose trainings were measured
    Column("seeds", Integer, nullable=False),
    Column("seeds_failed", Integer, nullable=False),
    Column("mean", Float),
    Column("sigma", Float),  # standard deviation of the fitness between seeds
    Column("created", DateTime, nullable=False),
    UniqueConstraint("key", "task_fingerprint"),
)  # fmt: skip

# A step of simplifying a program.
simplification = Table(
    "simplification", metadata, _id(),
    Column("program_id", ForeignKey("program.id"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("created", DateTime, nullable=False),
    UniqueConstraint("program_id", "step"),
)  # fmt: skip

# An exported program.
export = Table(
    "export", metadata, _id(),
    Column("program_id", ForeignKey("program.id"), nullable=False),
    Column("target", String(20), nullable=False),  # one of torch, optax, dsl
    Column("class_name", String(200), nullable=False),  # of the optimizer
    Column("source", Text, nullable=False),  # the file as it was written
    Column("created", DateTime, nullable=False),
)  # fmt: skip
