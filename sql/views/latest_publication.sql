-- The publication that readers see. Grain: one row. Key: run_id.
SELECT run_id, published_at, kind, lake_version
FROM publications
WHERE published_at IN (SELECT max(published_at) FROM publications)
