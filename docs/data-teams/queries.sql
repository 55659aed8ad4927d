-- Questions to the execution log, in ClickHouse's SQL. Only rows that end an execution have a status, tokens
-- and a cost, so nothing is counted twice.

-- What each tenant cost, by day and model.
SELECT toDate(event_time) AS day, tenant, definition, currency,
       count() AS calls, sum(cost_micros) / 1e6 AS cost,
       sum(input_tokens) AS input, sum(output_tokens) AS output
FROM execution_log FINAL
WHERE status IS NOT NULL AND kind = 'model'
GROUP BY day, tenant, definition, currency
ORDER BY day, cost DESC;

-- The same by a label of yours.
SELECT labels['team'] AS team, currency, sum(cost_micros) / 1e6 AS cost
FROM execution_log FINAL
WHERE status IS NOT NULL
GROUP BY team, currency
ORDER BY cost DESC;

-- How fast each model is, and how often it fails.
SELECT definition, count() AS calls, countIf(status != 'succeeded') / calls AS failed,
       quantile(0.5)(duration_ms) AS p50_ms, quantile(0.95)(duration_ms) AS p95_ms,
       quantile(0.95)(time_to_first_token_ms) AS first_token_p95_ms, quantile(0.95)(queued_ms) AS queued_p95_ms
FROM execution_log FINAL
WHERE status IS NOT NULL AND kind = 'model'
GROUP BY definition
ORDER BY calls DESC;

-- Why calls fail.
SELECT definition, error_class, error_code, http_status, count() AS calls
FROM execution_log FINAL
WHERE status NOT IN ('succeeded', 'cancelled')
GROUP BY definition, error_class, error_code, http_status
ORDER BY calls DESC;

-- What began and hasn't ended: by now it should have.
SELECT tenant, execution_id, min(event_time) AS began
FROM execution_log FINAL
GROUP BY tenant, execution_id
HAVING countIf(status IS NOT NULL) = 0 AND began < now() - INTERVAL 1 HOUR
ORDER BY began;

-- Lineage down: everything that one execution set off, however deep, with what it cost.
WITH RECURSIVE below AS
(
    SELECT tenant, execution_id, parent_execution_id, kind, definition, step, status, cost_micros, 1 AS depth
    FROM execution_log FINAL
    WHERE tenant = 'default' AND parent_execution_id = 'order-1' AND status IS NOT NULL
    UNION ALL
    SELECT log.tenant, log.execution_id, log.parent_execution_id, log.kind, log.definition, log.step, log.status,
           log.cost_micros, below.depth + 1 AS depth
    FROM execution_log AS log FINAL
    INNER JOIN below ON log.tenant = below.tenant AND log.parent_execution_id = below.execution_id
    WHERE log.status IS NOT NULL
)
SELECT * FROM below ORDER BY depth, execution_id;

-- Lineage up: from an execution to the one that asked for it, and on to the head of the chain.
WITH RECURSIVE chain AS
(
    SELECT tenant, execution_id, parent_execution_id, kind, definition, 0 AS above
    FROM execution_log FINAL
    WHERE tenant = 'default' AND execution_id = 'order-1-summary-check' AND event_type = 'execution.admitted'
    UNION ALL
    SELECT log.tenant, log.execution_id, log.parent_execution_id, log.kind, log.definition, chain.above + 1 AS above
    FROM execution_log AS log FINAL
    INNER JOIN chain ON log.tenant = chain.tenant AND log.execution_id = chain.parent_execution_id
    WHERE log.event_type = 'execution.admitted'
)
SELECT * FROM chain ORDER BY above;

-- Lineage of one row: the record of the log that it was made from, to be read with any Kafka client, and the
-- trace that it belongs to.
SELECT event_id, event_type, source_topic, source_partition, source_offset, trace_id, span_id
FROM execution_log FINAL
WHERE tenant = 'default' AND execution_id = 'order-1-summary'
ORDER BY source_offset, event_id;
