-- Recommended items that are no candidates. Grain: a place. Key: run_id, purpose, model, domain, user_id, rank.
WITH candidates AS (
    SELECT popularity.run_id, popularity.purpose, popularity.domain, features.item_id
    FROM item_popularity AS popularity
    INNER JOIN item_features AS features
        ON
            popularity.run_id = features.run_id AND popularity.domain = features.domain
            AND popularity.item_num = features.item_num
)
SELECT places.run_id, places.purpose, places.model, places.domain, places.user_id, places.rank, places.item_id
FROM recommendations AS places
LEFT JOIN candidates
    ON
        places.run_id = candidates.run_id AND places.purpose = candidates.purpose
        AND places.domain = candidates.domain AND places.item_id = candidates.item_id
WHERE candidates.item_id IS NULL
