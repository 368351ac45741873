"""The SQL views: the public face of a database. They are made anew at every upgrade."""

from __future__ import annotations

# What is summed or divided is cast, so that every kind of database gives the same numbers; order is by numbers, or by
# id where it would be by name, since databases order texts differently. What a view is for stands above it: the
# reference of the documentation is made from that.
VIEWS = {
    # The distinct programs of each search that trained well, best first; one row for each key, its first birth. Of
    # programs that were trained again on other seeds, the mean over all rounds, if none failed.
    "v_leaderboard": """
        SELECT search, id, birth, key, fitness,
               fitness - adamw AS over_adamw,
               fitness - (SELECT MAX(b.fitness) FROM baseline b WHERE b.search_id = scored.search_id)
                   AS over_best_baseline,
               statements, live_statements, state_slots, mutation, parent_birth, rounds, variance, genome
        FROM (
            SELECT s.id AS search_id, s.name AS search, a.fitness AS adamw, i.id, i.birth, i.key, i.statements,
                   i.live_statements, i.state_slots, i.mutation, i.parent_birth, i.genome,
                   CASE WHEN r.id IS NULL THEN i.fitness ELSE r.fitness END AS fitness,
                   COALESCE(r.rounds, i.rounds) AS rounds, r.variance
            FROM program i
            JOIN search s ON s.id = i.search_id
            LEFT JOIN baseline a ON a.search_id = s.id AND a.name = 'adamw'
            LEFT JOIN (
                SELECT search_id, key, MAX(id) AS id
                FROM program
                WHERE answered_by = 'reevaluation'
                GROUP BY search_id, key
            ) AS latest ON latest.search_id = i.search_id AND latest.key = i.key
            LEFT JOIN program r ON r.id = latest.id
            WHERE i.answered_by = 'training' AND i.fitness IS NOT NULL
        ) AS scored
        WHERE fitness IS NOT NULL
        ORDER BY fitness DESC, id
    """,
    # How each search went, batch by batch: births by how they got their score, within the batch and so far, the
    # redundant share of their statements, and the best fitness so far.
    "v_progress": """
        SELECT search, batch, births, trained, by_hash, by_fingerprint, in_flight, rejected, redundant_share,
               CAST(SUM(births) OVER so_far AS BIGINT) AS births_so_far,
               CAST(SUM(trained) OVER so_far AS BIGINT) AS trained_so_far,
               CAST(SUM(by_hash) OVER so_far AS BIGINT) AS by_hash_so_far,
               CAST(SUM(by_fingerprint) OVER so_far AS BIGINT) AS by_fingerprint_so_far,
               CAST(SUM(in_flight) OVER so_far AS BIGINT) AS in_flight_so_far,
               CAST(SUM(rejected) OVER so_far AS BIGINT) AS rejected_so_far,
               MAX(best) OVER so_far AS best_so_far
        FROM (
            SELECT s.id AS search_id, s.name AS search, i.batch,
                   COUNT(*) AS births,
                   SUM(CASE WHEN i.answered_by IN ('training', 'reevaluation') THEN 1 ELSE 0 END) AS trained,
                   SUM(CASE WHEN i.answered_by = 'hash' THEN 1 ELSE 0 END) AS by_hash,
                   SUM(CASE WHEN i.answered_by = 'fingerprint' THEN 1 ELSE 0 END) AS by_fingerprint,
                   SUM(CASE WHEN i.answered_by = 'in_flight' THEN 1 ELSE 0 END) AS in_flight,
                   SUM(CASE WHEN i.answered_by = 'rejection' THEN 1 ELSE 0 END) AS rejected,
                   1 - CAST(SUM(i.live_statements) AS DOUBLE PRECISION) / SUM(i.statements) AS redundant_share,
                   MAX(i.fitness) AS best
            FROM program i JOIN search s ON s.id = i.search_id
            GROUP BY s.id, s.name, i.batch
        ) AS batches
        WINDOW so_far AS (PARTITION BY search_id ORDER BY batch)
        ORDER BY search_id, batch
    """,
    # What failed and why, counted over programs trained or rejected; answers from the cache repeat a failure.
    "v_failures": """
        SELECT s.name AS search, i.status, i.reason, COUNT(*) AS programs, MIN(i.id) AS example_id
        FROM program i JOIN search s ON s.id = i.search_id
        WHERE i.status <> 'ok' AND i.answered_by IN ('training', 'reevaluation', 'rejection')
        GROUP BY s.id, s.name, i.status, i.reason
        ORDER BY s.id, COUNT(*) DESC, MIN(i.id)
    """,
    # How the best of each search fared, as it went on, on tasks that the search never sees.
    "v_meta_validation": """
        SELECT s.name AS search, c.births, i.id, c.birth, c.fitness, c.meta_fitness
        FROM meta_validation c
        JOIN search s ON s.id = c.search_id
        JOIN program i ON i.search_id = c.search_id AND i.birth = c.birth
        ORDER BY s.id, c.births
    """,
    # Results of funnels, stage by stage: programs and baselines as tuned there, on fresh seeds.
    "v_funnel": """
        SELECT funnel, search, stage, stages, task, competitor, program_id, passed, z, p, ahead, ahead_error,
               baseline, fitness, standard_error, seeds, trials, learning_rate, weight_decay, genome
        FROM selection
        ORDER BY id
    """,
    # Finalists against tuned baselines on the locked tasks.
    "v_proof": """
        SELECT o.program_id AS finalist, o.funnel, CAST(o.opened AS TEXT) AS opened,
               CAST(o.finished AS TEXT) AS finished, p.competitor, p.program_id, p.task,
               p.fitness, p.standard_error, p.seeds, p.seeds_failed, p.ahead, p.ahead_error, p.task_z,
               p.steps_to_adamw, p.tolerance, p.trials, p.trials_failed, p.learning_rate, p.weight_decay,
               p.one_setting, p.state_per_weight, p.step_time, p.z, p.p, p.genome
        FROM proof p
        JOIN opening o ON o.id = p.opening_id
        ORDER BY p.id
    """,
    # How much one training of a task says.
    "v_noise": """
        SELECT task, genome, seeds, seeds_failed, mean, sigma
        FROM task_noise
        ORDER BY id
    """,
    # Every program beside its parent.
    "v_lineage": """
        SELECT s.name AS search, i.id, i.birth, i.mutation, i.status, i.fitness, i.genome,
               p.id AS parent_id, p.birth AS parent_birth, p.fitness AS parent_fitness,
               i.fitness - p.fitness AS gain
        FROM program i
        JOIN search s ON s.id = i.search_id
        LEFT JOIN program p ON p.search_id = i.search_id AND p.birth = i.parent_birth
        ORDER BY i.id
    """,
    # Every search: its settings as JSON, how far it is, and what it found.
    "v_searches": """
        SELECT s.name AS search, s.state, CAST(s.created AS TEXT) AS started, CAST(s.updated AS TEXT) AS last_written,
               s.seconds, COUNT(i.id) AS births,
               CAST(COALESCE(SUM(CASE WHEN i.answered_by IN ('training', 'reevaluation') THEN 1 ELSE 0 END), 0)
                    AS BIGINT) AS trained,
               MAX(i.fitness) AS best, CAST(s.settings AS TEXT) AS settings
        FROM search s LEFT JOIN program i ON i.search_id = s.id
        GROUP BY s.id
        ORDER BY s.id
    """,
    # The tuned baselines of each search.
    "v_baselines": """
        SELECT s.name AS search, b.name, b.genome, b.key, b.learning_rate, b.weight_decay, b.fitness, b.trials
        FROM baseline b JOIN search s ON s.id = b.search_id
        ORDER BY b.id
    """,
    # Every training there has been, of whatever search; curves as JSON, times in UTC.
    "v_trainings": """
        SELECT key, task, task_fingerprint, seed, status, fitness, steps, seconds, device, reason,
               CAST(curve AS TEXT) AS curve, CAST(created AS TEXT) AS written
        FROM training
        ORDER BY id
    """,
    # When the trainings of each batch were written (UTC), and how long workers took for them. What was trained before
    # the search began, after it ended, or on the fresh seeds from 1000 on, was not trained by it.
    "v_pace": """
        SELECT s.name AS search, i.batch, COUNT(*) AS trainings, SUM(e.seconds) AS seconds,
               CAST(MIN(e.created) AS TEXT) AS began, CAST(MAX(e.created) AS TEXT) AS ended
        FROM program i
        JOIN search s ON s.id = i.search_id
        JOIN training e ON e.key = i.key AND e.seed < 1000 AND e.created BETWEEN s.created AND s.updated
        WHERE i.answered_by IN ('training', 'reevaluation')
        GROUP BY s.id, s.name, i.batch
        ORDER BY s.id, i.batch
    """,
    # The steps of simplified programs; what is left is what the last accepted step leaves. Evidence as JSON.
    "v_simplification": """
        SELECT s.name AS search, p.program_id AS id, p.step, p.kind, p.before, p.after,
               CAST(p.evidence AS TEXT) AS evidence, p.accepted
        FROM simplification p
        JOIN program i ON i.id = p.program_id
        JOIN search s ON s.id = i.search_id
        ORDER BY p.program_id, p.step
    """,
}


def definition(name: str) -> str:
    """The statement that makes a view, as SQLite keeps it word for word."""
    return f"CREATE VIEW {name} AS {VIEWS[name].strip()}"
