-- Metrics of the published runs, night by night. Key: run_id, model, domain, segment, metric, n.
WITH nights AS (
    SELECT run_id, max(run_date) AS run_date
    FROM runs
    WHERE run_id IN (SELECT run_id FROM publications)
    GROUP BY run_id
),
over_nights AS (
    SELECT
        nights.run_date, metrics.run_id, metrics.model, metrics.domain, metrics.segment, metrics.metric, metrics.n,
        metrics.value, metrics.ci_low, metrics.ci_high, metrics.num_users,
        lag(metrics.value) OVER (
            PARTITION BY metrics.model, metrics.domain, metrics.segment, metrics.metric, metrics.n
            ORDER BY nights.run_date, metrics.run_id
        ) AS value_before
    FROM metrics
    INNER JOIN nights ON metrics.run_id = nights.run_id
)
SELECT
    run_date, run_id, model, domain, segment, metric, n, value, ci_low, ci_high, num_users,
    value_before, value - value_before AS change
FROM over_nights
