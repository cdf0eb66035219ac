-- Lists whose ranks do not run from 1 without a gap. Grain: a list. Key: run_id, purpose, model, domain, user_id.
SELECT
    run_id, purpose, model, domain, user_id, min(rank) AS first_rank, max(rank) AS last_rank,
    count(DISTINCT rank) AS num_ranks
FROM recommendations
GROUP BY run_id, purpose, model, domain, user_id
HAVING min(rank) <> 1 OR max(rank) <> count(DISTINCT rank)
