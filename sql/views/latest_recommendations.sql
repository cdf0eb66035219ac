-- The published lists, with titles. Grain: a place in a user's list. Key: model, domain, user_id, rank.
-- A refreshed run made some users' lists anew, the others' are those of the runs it stands on, a whole night first.
WITH latest AS (
    SELECT run_id FROM publications WHERE published_at IN (SELECT max(published_at) FROM publications)
),
parts AS (
    SELECT run_id, part_run_id, place FROM run_parts WHERE run_id IN (SELECT run_id FROM latest)
    UNION ALL
    SELECT run_id, run_id AS part_run_id, 0 AS place FROM latest WHERE run_id NOT IN (SELECT run_id FROM run_parts)
),
whole_night AS (
    SELECT part_run_id FROM parts WHERE place IN (SELECT max(place) FROM parts)
),
remade AS (
    SELECT marks.user_id, min(parts.place) AS place
    FROM user_fingerprints AS marks
    INNER JOIN parts ON marks.run_id = parts.part_run_id
    WHERE parts.place < (SELECT max(place) FROM parts)
    GROUP BY marks.user_id
),
titles AS (
    SELECT domain, item_id, title FROM item_features WHERE run_id IN (SELECT part_run_id FROM whole_night)
)
SELECT
    parts.run_id, places.run_date, places.model, places.domain, places.user_id, places.rank, places.item_id,
    titles.title, places.score, places.probability, places.path
FROM recommendations AS places
INNER JOIN parts ON places.run_id = parts.part_run_id
LEFT JOIN remade ON places.user_id = remade.user_id
LEFT JOIN titles ON places.domain = titles.domain AND places.item_id = titles.item_id
WHERE places.purpose = 'serve' AND (remade.place IS NULL OR parts.place <= remade.place)
