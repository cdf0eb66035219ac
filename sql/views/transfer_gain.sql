-- What the other domains add: transferred against target_only on the backtest. Key: domain, segment, metric, n.
SELECT
    run_id, domain, segment, metric, n, value, baseline_value, difference, ci_low, ci_high,
    difference / nullif(baseline_value, 0) AS relative_gain,
    CASE WHEN ci_low > 0 THEN 'gain' WHEN ci_high < 0 THEN 'loss' ELSE 'open' END AS verdict,
    num_users, decision, reason
FROM transfer_report
WHERE
    purpose = 'backtest' AND model = 'transferred' AND baseline = 'target_only'
    AND run_id IN (
        SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
    )
