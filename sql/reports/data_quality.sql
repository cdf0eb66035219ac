-- The published run's checks, beside the rows read. Grain: a check of a domain. Key: domain, check.
WITH rows_read AS (
    SELECT run_id, domain, value AS num_rows FROM data_quality AS quality WHERE quality.check = 'rows_read'
)
SELECT
    quality.run_id, quality.domain, quality.check, quality.value,
    CASE
        WHEN quality.check = 'rows_kept' OR quality.check LIKE 'rejected:%'
            THEN quality.value / nullif(rows_read.num_rows, 0)
    END AS share_of_rows_read
FROM data_quality AS quality
INNER JOIN latest_publication ON quality.run_id = latest_publication.run_id
LEFT JOIN rows_read ON quality.run_id = rows_read.run_id AND quality.domain = rows_read.domain
