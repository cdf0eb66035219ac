-- Served items that the user has, where the domain excludes them. Key: run_id, model, domain, user_id, rank.
WITH seen AS (
    SELECT histories.run_id, histories.domain, user_ids.user_id, histories.item_nums
    FROM histories
    INNER JOIN user_ids ON histories.user_num = user_ids.user_num
    INNER JOIN data_quality AS quality ON histories.run_id = quality.run_id AND histories.domain = quality.domain
    WHERE histories.purpose = 'serve' AND quality.check = 'exclude_seen' AND quality.value = 1
),
items AS (
    SELECT run_id, domain, item_id, item_num FROM item_features
)
SELECT places.run_id, places.model, places.domain, places.user_id, places.rank, places.item_id
FROM recommendations AS places
INNER JOIN items
    ON places.run_id = items.run_id AND places.domain = items.domain AND places.item_id = items.item_id
INNER JOIN seen
    ON places.run_id = seen.run_id AND places.domain = seen.domain AND places.user_id = seen.user_id
WHERE places.purpose = 'serve' AND array_contains(seen.item_nums, items.item_num)
