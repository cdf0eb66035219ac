-- The published run's reliability plot. Grain: a bin of a model's probabilities. Key: model, domain, bin.
SELECT run_id, model, domain, bin, mean_probability, click_rate, lowest, highest, positives, pairs
FROM reliability
WHERE run_id IN (
    SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
)
