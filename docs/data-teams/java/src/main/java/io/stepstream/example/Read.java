package io.stepstream.example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads the execution log to its end and prints its rows, one JSON line each.
 *
 * <p>With {@code --types} it prints, in place of the rows, which Java class each column had: null for
 * a column that no row filled. Exit code 0; 1 when something failed, 2 when the arguments are wrong.
 * The framing is read here, in a few lines, so that nothing is needed but Apache Kafka and Apache Avro.
 */
public final class Read {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

  /** Something that the person at the terminal should read. */
  private static final class Failed extends Exception {
    private static final long serialVersionUID = 1L;

    Failed(String message) {
      super(message);
    }
  }

  /** Rows as they are, or the classes of their columns. */
  private enum Output {
    ROWS,
    TYPES
  }

  private record Options(
      String brokers, String registry, String prefix, String execution, Duration timeout, Output output) {

    static Options parse(String[] arguments) {
      Set<String> known = Set.of("--brokers", "--registry", "--topic-prefix", "--execution", "--timeout");
      Map<String, String> given = new HashMap<>();
      Output output = Output.ROWS;
      for (int at = 0; at < arguments.length; at++) {
        if (arguments[at].equals("--types")) {
          output = Output.TYPES;
        } else if (!known.contains(arguments[at])) {
          throw new IllegalArgumentException("unknown argument '" + arguments[at] + "'");
        } else if (at + 1 == arguments.length) {
          throw new IllegalArgumentException(arguments[at] + " wants a value");
        } else {
          given.put(arguments[at], arguments[++at]);
        }
      }
      for (String name : List.of("--brokers", "--registry")) {
        if (!given.containsKey(name)) {
          throw new IllegalArgumentException(name + " is missing");
        }
      }
      double seconds;
      try {
        seconds = Double.parseDouble(given.getOrDefault("--timeout", "60"));
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException("--timeout: '" + given.get("--timeout") + "' is not a number");
      }
      return new Options(
          given.get("--brokers"),
          given.get("--registry").replaceAll("/+$", ""),
          given.getOrDefault("--topic-prefix", ""),
          given.get("--execution"),
          Duration.ofMillis((long) (seconds * 1000)),
          output);
    }
  }

  /** Rows from bytes; schemas come from the registry, each once. */
  private static final class Decoder {
    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
    private final String registry;
    private final Map<Integer, Schema> byId = new HashMap<>();
    private final GenericData data = new GenericData();

    Decoder(String registry) {
      this.registry = registry;
      // Times become `Instant`; without it they are `Long`.
      data.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
    }

    /** A zero byte, the schema's id in four bytes, the datum. */
    GenericRecord row(byte[] value) throws Failed, IOException {
      if (value == null || value.length < 5 || value[0] != 0) {
        throw new Failed("a value of the execution log isn't Avro in Confluent framing");
      }
      Schema schema = schema(ByteBuffer.wrap(value, 1, 4).getInt());
      var decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
      return new GenericDatumReader<GenericRecord>(schema, schema, data).read(null, decoder);
    }

    private Schema schema(int id) throws Failed {
      Schema known = byId.get(id);
      if (known != null) {
        return known;
      }
      URI at = URI.create(registry + "/schemas/ids/" + id);
      try {
        HttpResponse<String> answer =
            http.send(
                HttpRequest.newBuilder(at).timeout(Duration.ofSeconds(30)).build(),
                HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
          throw new Failed("registry: " + at + ": " + answer.statusCode() + " " + answer.body());
        }
        JsonNode found = JSON.readTree(answer.body());
        Schema schema = new Schema.Parser().parse(found.get("schema").asText());
        byId.put(id, schema);
        return schema;
      } catch (ConnectException e) {
        throw new Failed("registry: nothing listens at " + registry);
      } catch (IOException e) {
        throw new Failed("registry: " + at + ": " + e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new Failed("interrupted");
      }
    }
  }

  private static KafkaConsumer<byte[], byte[]> consumer(Options options) {
    int limit = (int) Math.max(1, Math.min(options.timeout().toMillis(), Integer.MAX_VALUE));
    return new KafkaConsumer<>(
        Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers(),
            // Java's default is to read uncommitted records: rows of a checkpoint that was aborted as well.
            ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
            ConsumerConfig.DEFAULT_API_TIMEOUT_MS_CONFIG, limit,
            ConsumerConfig.REQUEST_TIMEOUT_MS_CONFIG, limit,
            ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, false),
        new ByteArrayDeserializer(),
        new ByteArrayDeserializer());
  }

  private static ObjectNode line(GenericRecord row) {
    ObjectNode line = JSON.createObjectNode();
    for (Schema.Field field : row.getSchema().getFields()) {
      Object value = row.get(field.pos());
      if (value instanceof Integer number) {
        line.put(field.name(), number);
      } else if (value instanceof Long number) {
        line.put(field.name(), number);
      } else if (value instanceof Map<?, ?> map) {
        ObjectNode entries = line.putObject(field.name());
        map.forEach((key, entry) -> entries.put(key.toString(), entry.toString()));
      } else if (value instanceof Instant time) {
        line.put(field.name(), TIME.format(time));
      } else {
        line.put(field.name(), value == null ? null : value.toString());
      }
    }
    return line;
  }

  private static void run(Options options) throws Failed, IOException {
    long deadline = System.nanoTime() + options.timeout().toNanos();
    String topic = options.prefix() + "execution-log";
    Decoder decoder = new Decoder(options.registry());
    Map<String, Set<String>> types = new LinkedHashMap<>();
    try (var consumer = consumer(options)) {
      // `partitionsFor` would wait for a topic that isn't there; the list comes at once.
      var partitions = consumer.listTopics().get(topic);
      if (partitions == null) {
        throw new Failed("there is no topic " + topic + " at " + options.brokers());
      }
      List<TopicPartition> places =
          partitions.stream().map(found -> new TopicPartition(topic, found.partition())).toList();
      consumer.assign(places);
      consumer.seekToBeginning(places);
      // Under read_committed this is where the first open transaction begins.
      Map<TopicPartition, Long> ends = consumer.endOffsets(places);
      while (places.stream().anyMatch(place -> consumer.position(place) < ends.get(place))) {
        if (System.nanoTime() - deadline > 0) {
          throw new Failed("topic " + topic + " couldn't be read to its end in time");
        }
        for (var record : consumer.poll(Duration.ofMillis(200))) {
          GenericRecord row = decoder.row(record.value());
          if (options.execution() != null && !options.execution().equals(row.get("execution_id").toString())) {
            continue;
          }
          for (Schema.Field field : row.getSchema().getFields()) {
            Set<String> seen = types.computeIfAbsent(field.name(), name -> new TreeSet<>());
            Object value = row.get(field.pos());
            if (value != null) {
              seen.add(value.getClass().getSimpleName());
            }
          }
          if (options.output() == Output.ROWS) {
            System.out.println(line(row));
          }
        }
      }
    }
    if (options.output() == Output.TYPES) {
      ObjectNode line = JSON.createObjectNode();
      types.forEach((name, seen) -> line.put(name, seen.isEmpty() ? null : String.join("|", seen)));
      System.out.println(line);
    }
  }

  public static void main(String[] arguments) {
    try {
      run(Options.parse(arguments));
    } catch (IllegalArgumentException e) {
      System.err.println("read: " + e.getMessage());
      System.err.println(
          "usage: --brokers HOST:PORT --registry URL"
              + " [--execution ID] [--types] [--timeout SECONDS] [--topic-prefix P]");
      System.exit(2);
    } catch (Failed | IOException | KafkaException e) {
      System.err.println("read: " + e.getMessage());
      System.exit(1);
    }
  }
}
