-- Two items in one place. Grain: a place in a list. Key: run_id, purpose, model, domain, user_id, rank.
SELECT run_id, purpose, model, domain, user_id, rank, count(*) AS num_rows
FROM recommendations
GROUP BY run_id, purpose, model, domain, user_id, rank
HAVING count(*) > 1
