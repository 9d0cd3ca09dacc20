-- Recordings that are rejected as things stand now, counted by their error code, the most frequent first.
WITH newest AS (
    SELECT *, row_number() OVER (PARTITION BY name ORDER BY finished DESC) AS place
    FROM recordings
)
SELECT
    code,
    count(*) AS recordings,
    min(reason) AS a_reason,
    min(name) AS a_recording,
    max(day) AS last_day
FROM newest
WHERE place = 1 AND state = 'rejected'
GROUP BY code
ORDER BY recordings DESC, code
