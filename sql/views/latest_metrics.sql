-- The published run's metrics. Grain: a measure of a model on the backtest. Key: model, domain, segment, metric, n.
SELECT run_id, model, domain, segment, metric, n, value, ci_low, ci_high, num_users
FROM metrics
WHERE run_id IN (
    SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
)
