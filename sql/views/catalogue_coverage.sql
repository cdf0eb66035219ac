-- The share of the candidates that reach any list. Grain: a model, domain and list length. Key: model, domain, n.
-- A refreshed run has the candidates of the whole night it stands on.
WITH latest AS (
    SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
),
parts AS (
    SELECT part_run_id, place FROM run_parts WHERE run_id IN (SELECT run_id FROM latest)
    UNION ALL
    SELECT run_id AS part_run_id, 0 AS place FROM latest
),
candidates AS (
    SELECT domain, count(*) AS num_candidates
    FROM item_popularity
    WHERE
        purpose = 'backtest'
        AND run_id IN (SELECT part_run_id FROM parts WHERE place IN (SELECT max(place) FROM parts))
    GROUP BY domain
)
SELECT
    metrics.run_id, metrics.model, metrics.domain, metrics.n, metrics.value AS coverage,
    metrics.value * candidates.num_candidates AS num_items, candidates.num_candidates, metrics.num_users AS num_lists
FROM metrics
INNER JOIN candidates ON metrics.domain = candidates.domain
WHERE metrics.metric = 'coverage' AND metrics.run_id IN (SELECT run_id FROM latest)
