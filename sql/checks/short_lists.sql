-- Lists shorter than the domain's longest though candidates were left. Key: run_id, model, domain, user_id.
WITH lists AS (
    SELECT run_id, model, domain, user_id, count(*) AS num_places
    FROM recommendations
    WHERE purpose = 'serve'
    GROUP BY run_id, model, domain, user_id
),
longest AS (
    SELECT run_id, model, domain, max(num_places) AS num_places FROM lists GROUP BY run_id, model, domain
),
candidates AS (
    SELECT run_id, domain, count(*) AS num_items FROM item_popularity WHERE purpose = 'serve' GROUP BY run_id, domain
),
-- a user has seen at most as many items as there are events
seen AS (
    SELECT histories.run_id, histories.domain, user_ids.user_id, histories.num_events
    FROM histories
    INNER JOIN user_ids ON histories.user_num = user_ids.user_num
    WHERE histories.purpose = 'serve'
)
SELECT lists.run_id, lists.model, lists.domain, lists.user_id, lists.num_places
FROM lists
INNER JOIN longest
    ON lists.run_id = longest.run_id AND lists.model = longest.model AND lists.domain = longest.domain
INNER JOIN candidates ON lists.run_id = candidates.run_id AND lists.domain = candidates.domain
LEFT JOIN seen ON lists.run_id = seen.run_id AND lists.domain = seen.domain AND lists.user_id = seen.user_id
WHERE
    lists.num_places < longest.num_places
    AND lists.num_places < candidates.num_items - coalesce(seen.num_events, 0)
