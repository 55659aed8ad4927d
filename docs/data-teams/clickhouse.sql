-- The execution log in ClickHouse: a table, the Kafka table that feeds it, and what connects them.
-- Put the addresses of your broker and registry for `broker:9092` and the URL below.

CREATE TABLE IF NOT EXISTS execution_log
(
    event_id String,
    cause_id String,
    event_type LowCardinality(String),
    event_time DateTime64(3, 'UTC'),
    tenant LowCardinality(String),
    execution_id String,
    root_execution_id String,
    kind LowCardinality(String),
    parent_execution_id Nullable(String),
    definition LowCardinality(Nullable(String)),
    definition_version Nullable(Int32),
    session_id Nullable(String),
    step Nullable(String),
    attempt Nullable(Int32),
    status LowCardinality(Nullable(String)),
    error_code LowCardinality(Nullable(String)),
    error_class LowCardinality(Nullable(String)),
    queued_ms Nullable(Int64),
    duration_ms Nullable(Int64),
    time_to_first_token_ms Nullable(Int64),
    provider LowCardinality(Nullable(String)),
    model_requested LowCardinality(Nullable(String)),
    model_used LowCardinality(Nullable(String)),
    deployment LowCardinality(Nullable(String)),
    operation LowCardinality(Nullable(String)),
    finish_reason LowCardinality(Nullable(String)),
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    cached_tokens Nullable(Int64),
    reasoning_tokens Nullable(Int64),
    cost_micros Nullable(Int64),
    currency LowCardinality(Nullable(String)),
    function LowCardinality(Nullable(String)),
    http_status Nullable(Int32),
    timer_lateness_ms Nullable(Int64),
    trace_id Nullable(String),
    span_id Nullable(String),
    source_topic LowCardinality(Nullable(String)),
    source_partition Nullable(Int32),
    source_offset Nullable(Int64),
    labels Map(String, String),
    input_text Nullable(String),
    output_text Nullable(String)
)
-- A row that comes twice has the same event_id, so it is kept once. Merges happen when ClickHouse likes:
-- a query that mustn't see a copy in the meantime says FINAL.
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(event_time)
ORDER BY (tenant, execution_id, event_id);

-- ClickHouse reads committed records only, as its Kafka client does by default. Columns are found by name,
-- so columns that a later version adds do no harm.
CREATE TABLE IF NOT EXISTS execution_log_queue AS execution_log
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'broker:9092',
    kafka_topic_list = 'execution-log',
    kafka_group_name = 'clickhouse',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = 'http://registry:8080/apis/ccompat/v7',
    kafka_num_consumers = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS execution_log_reader TO execution_log AS
SELECT * FROM execution_log_queue;
