-- The published lists, with titles. Grain: a place in a user's list. Key: model, domain, user_id, rank.
WITH latest AS (
    SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
),
titles AS (
    SELECT run_id, domain, item_id, title FROM item_features
)
SELECT
    places.run_id, places.run_date, places.model, places.domain, places.user_id, places.rank, places.item_id,
    titles.title, places.score, places.probability, places.path
FROM recommendations AS places
INNER JOIN latest ON places.run_id = latest.run_id
LEFT JOIN titles
    ON places.run_id = titles.run_id AND places.domain = titles.domain AND places.item_id = titles.item_id
WHERE places.purpose = 'serve'
