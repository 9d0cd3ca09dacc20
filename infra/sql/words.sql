-- Recordings whose newest transcript has a word or a phrase, the newest first. A person's correction counts instead.
-- ? is the text to find; capitals do not matter.
WITH newest AS (
    SELECT *, row_number() OVER (PARTITION BY name ORDER BY finished DESC) AS place
    FROM recordings
    WHERE state = 'transcribed'
),
spoken AS (
    SELECT
        newest.name,
        newest.run_id,
        newest.engine,
        newest.model,
        coalesce(corrections.author, '') AS corrected_by,
        coalesce(corrections.time, newest.time) AS written,
        coalesce(corrections.text, newest.text) AS text
    FROM newest
    LEFT JOIN corrections
        ON corrections.name = newest.name AND corrections.source_etag = newest.source_etag
    WHERE newest.place = 1
)
SELECT name, run_id, engine, model, corrected_by, written, text
FROM spoken
WHERE strpos(lower(text), lower(?)) > 0
ORDER BY written DESC, name
