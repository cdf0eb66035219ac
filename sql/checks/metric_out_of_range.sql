-- Metrics that cannot be. Grain: a measure of a model. Key: run_id, model, domain, segment, metric, n.
WITH bounds AS (
    SELECT
        run_id, model, domain, segment, metric, n, value, ci_low, ci_high, num_users,
        CASE
            WHEN metric IN ('novelty', 'click_log_loss', 'click_best_constant_log_loss') THEN 100
            WHEN metric = 'diversity' THEN 2
            ELSE 1
        END AS highest
    FROM metrics
)
SELECT run_id, model, domain, segment, metric, n, value, ci_low, ci_high, num_users
FROM bounds
WHERE
    value < -1e-9 OR value > highest + 1e-9
    OR ci_low > ci_high
    OR num_users < 1
