-- What was transcribed and what it cost, by month and by the first folder of the recordings' names.
-- A recording that was transcribed again counts again. Costs are the reports' estimates, shared out by CPU time.
WITH transcribed AS (
    SELECT
        substr(day, 1, 7) AS month,
        CASE WHEN strpos(name, '/') > 0 THEN substr(name, 1, strpos(name, '/')) ELSE '' END AS folder,
        audio_seconds,
        usd
    FROM recordings
    WHERE state = 'transcribed'
)
SELECT
    month,
    folder,
    count(*) AS transcripts,
    sum(audio_seconds) / 3600 AS audio_hours,
    sum(usd) AS usd
FROM transcribed
GROUP BY month, folder
ORDER BY month DESC, usd DESC, folder
