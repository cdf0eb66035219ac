-- Served items that the user has, where the domain excludes them. Key: run_id, model, domain, user_id, rank.
-- places is grouped, so that no engine joins lists with all histories of their domain before it looks at the user.
WITH places AS (
    SELECT
        listed.run_id, listed.model, listed.domain, listed.user_id, listed.rank, listed.item_id,
        user_ids.user_num, max(items.item_num) AS item_num
    FROM recommendations AS listed
    INNER JOIN user_ids ON listed.user_id = user_ids.user_id
    INNER JOIN item_features AS items
        ON listed.run_id = items.run_id AND listed.domain = items.domain AND listed.item_id = items.item_id
    WHERE listed.purpose = 'serve'
    GROUP BY
        listed.run_id, listed.model, listed.domain, listed.user_id, listed.rank, listed.item_id, user_ids.user_num
),
-- user numbers are unique over all user spaces: one of the same id in another space has no history in the domain
seen AS (
    SELECT histories.run_id, histories.domain, histories.user_num, histories.item_nums
    FROM histories
    INNER JOIN data_quality AS quality ON histories.run_id = quality.run_id AND histories.domain = quality.domain
    WHERE histories.purpose = 'serve' AND quality.check = 'exclude_seen' AND quality.value = 1
)
SELECT places.run_id, places.model, places.domain, places.user_id, places.rank, places.item_id
FROM places
INNER JOIN seen
    ON places.run_id = seen.run_id AND places.domain = seen.domain AND places.user_num = seen.user_num
WHERE array_contains(seen.item_nums, places.item_num)
