-- How users without events in the domain fare. Grain: a measure of a model. Key: model, domain, segment, metric, n.
SELECT run_id, model, domain, segment, metric, n, value, ci_low, ci_high, num_users
FROM metrics
WHERE
    segment IN ('cold_in_domain', 'known_items_cold_in_domain', 'new')
    AND run_id IN (
        SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
    )
