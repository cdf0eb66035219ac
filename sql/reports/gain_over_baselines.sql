-- The neural models against everything simpler, on the backtest. Key: domain, segment, model, baseline, metric, n.
SELECT
    report.run_id, report.domain, report.segment, report.model, report.baseline, report.metric, report.n,
    report.value, report.baseline_value, report.difference, report.ci_low, report.ci_high,
    report.difference / nullif(report.baseline_value, 0) AS relative_gain, report.num_users, report.decision
FROM transfer_report AS report
INNER JOIN latest_publication ON report.run_id = latest_publication.run_id
WHERE report.purpose = 'backtest' AND report.model <> report.baseline
