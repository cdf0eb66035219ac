-- What each user is shown. Grain: a place in a user's list. Key: model, domain, user_id, rank.
SELECT user_id, domain, rank, item_id, coalesce(title, item_id) AS title, score, probability, path, model, run_date
FROM latest_recommendations
