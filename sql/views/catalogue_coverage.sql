-- The share of the candidates that reach any list. Grain: a model, domain and list length. Key: model, domain, n.
WITH candidates AS (
    SELECT run_id, domain, count(*) AS num_candidates
    FROM item_popularity
    WHERE purpose = 'backtest'
    GROUP BY run_id, domain
)
SELECT
    metrics.run_id, metrics.model, metrics.domain, metrics.n, metrics.value AS coverage,
    metrics.value * candidates.num_candidates AS num_items, candidates.num_candidates, metrics.num_users AS num_lists
FROM metrics
INNER JOIN candidates ON metrics.run_id = candidates.run_id AND metrics.domain = candidates.domain
WHERE
    metrics.metric = 'coverage'
    AND metrics.run_id IN (
        SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
    )
