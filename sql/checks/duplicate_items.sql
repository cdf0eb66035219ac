-- One item in two places. Grain: an item in a list. Key: run_id, purpose, model, domain, user_id, item_id.
SELECT run_id, purpose, model, domain, user_id, item_id, count(*) AS num_rows
FROM recommendations
GROUP BY run_id, purpose, model, domain, user_id, item_id
HAVING count(*) > 1
