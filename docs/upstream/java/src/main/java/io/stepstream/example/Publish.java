package io.stepstream.example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publishes a model request with a plain Kafka client and follows it until it has ended.
 *
 * <p>Prints one JSON line: id, status and output, or error. Exit code 0 when the model answered, 1
 * when it didn't, 2 when the arguments are wrong. The framing is done here, in a few lines, so that
 * nothing is needed but Apache Kafka and Apache Avro.
 */
public final class Publish {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Set<String> TERMINAL =
      Set.of("execution_succeeded", "execution_failed", "execution_cancelled", "execution_timed_out");

  /** Something that the person at the terminal should read. */
  private static final class Failed extends Exception {
    private static final long serialVersionUID = 1L;

    Failed(String message) {
      super(message);
    }
  }

  private record Options(
      String brokers, String registry, String model, String prompt, Duration timeout, String prefix, Path schema) {

    static Options parse(String[] arguments) {
      Map<String, String> given = new HashMap<>();
      Set<String> known =
          Set.of("--brokers", "--registry", "--model", "--prompt", "--timeout", "--topic-prefix", "--schema");
      for (int at = 0; at < arguments.length; at += 2) {
        if (!known.contains(arguments[at])) {
          throw new IllegalArgumentException("unknown argument '" + arguments[at] + "'");
        }
        if (at + 1 == arguments.length) {
          throw new IllegalArgumentException(arguments[at] + " wants a value");
        }
        given.put(arguments[at], arguments[at + 1]);
      }
      for (String name : List.of("--brokers", "--registry", "--model")) {
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
          given.get("--model"),
          given.getOrDefault("--prompt", "Say hello."),
          Duration.ofMillis((long) (seconds * 1000)),
          given.getOrDefault("--topic-prefix", ""),
          given.containsKey("--schema") ? Path.of(given.get("--schema")) : null);
    }
  }

  /** A schema with the id by which the registry knows it. */
  private record Registered(int id, Schema schema) {}

  /** The three calls of the registry that an upstream needs. */
  private static final class Registry {
    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();
    private final String base;
    private final Map<Integer, Schema> byId = new HashMap<>();

    Registry(String base) {
      this.base = base;
    }

    Registered latest(String subject) throws Failed {
      JsonNode found =
          call(
              HttpRequest.newBuilder(at("/subjects/" + encoded(subject) + "/versions/latest")).GET(),
              base + " has no subject " + subject + ": give --schema model-request.avsc");
      return new Registered(found.get("id").asInt(), parsed(found));
    }

    Registered register(String subject, Schema schema) throws Failed {
      String body = JSON.createObjectNode().put("schema", schema.toString()).toString();
      JsonNode found =
          call(
              HttpRequest.newBuilder(at("/subjects/" + encoded(subject) + "/versions"))
                  .header("Content-Type", "application/vnd.schemaregistry.v1+json")
                  .POST(HttpRequest.BodyPublishers.ofString(body)),
              "there is no registry at " + base);
      return new Registered(found.get("id").asInt(), schema);
    }

    Schema byId(int id) throws Failed {
      Schema schema = byId.get(id);
      if (schema == null) {
        schema = parsed(call(HttpRequest.newBuilder(at("/schemas/ids/" + id)).GET(), base + " has no schema " + id));
        byId.put(id, schema);
      }
      return schema;
    }

    private static Schema parsed(JsonNode found) {
      return new Schema.Parser().parse(found.get("schema").asText());
    }

    private JsonNode call(HttpRequest.Builder builder, String whenNotFound) throws Failed {
      HttpRequest request = builder.timeout(Duration.ofSeconds(30)).build();
      try {
        HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() == 404) {
          throw new Failed(whenNotFound);
        }
        if (answer.statusCode() != 200) {
          throw new Failed("registry: " + request.uri() + ": " + answer.statusCode() + " " + answer.body());
        }
        return JSON.readTree(answer.body());
      } catch (ConnectException e) {
        throw new Failed("registry: nothing listens at " + base);
      } catch (HttpTimeoutException e) {
        throw new Failed("registry: no answer from " + request.uri());
      } catch (IOException e) {
        throw new Failed("registry: " + request.uri() + ": " + e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new Failed("interrupted");
      }
    }

    private URI at(String path) {
      return URI.create(base + path);
    }

    private static String encoded(String subject) {
      return URLEncoder.encode(subject, StandardCharsets.UTF_8);
    }
  }

  /** A zero byte, the schema's id in four bytes, the datum. */
  private static byte[] framed(Registered registered, GenericRecord record) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    bytes.write(ByteBuffer.allocate(5).put((byte) 0).putInt(registered.id()).array());
    BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
    new GenericDatumWriter<GenericRecord>(registered.schema()).write(record, encoder);
    encoder.flush();
    return bytes.toByteArray();
  }

  private static GenericRecord unframed(Registry registry, byte[] value) throws IOException, Failed {
    if (value == null || value.length < 5 || value[0] != 0) {
      throw new Failed("a value in results isn't Avro in Confluent framing");
    }
    Schema schema = registry.byId(ByteBuffer.wrap(value, 1, 4).getInt());
    var decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
    return new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
  }

  private static GenericRecord request(Schema schema, String id, Options options) {
    ObjectNode body = JSON.createObjectNode();
    body.putArray("messages").addObject().put("role", "user").put("content", options.prompt());
    // Everything that is left out has a default in the schema.
    return new GenericRecordBuilder(schema)
        .set("id", id)
        .set("model", options.model())
        .set("body", body.toString())
        .build();
  }

  /** Reads all partitions from where they end now, so that nothing published after this is missed. */
  private static KafkaConsumer<String, byte[]> consumerAtEnd(Options options, String topic) throws Failed {
    KafkaConsumer<String, byte[]> consumer =
        new KafkaConsumer<>(
            Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers(),
                ConsumerConfig.DEFAULT_API_TIMEOUT_MS_CONFIG, millis(options.timeout()),
                ConsumerConfig.REQUEST_TIMEOUT_MS_CONFIG, millis(options.timeout()),
                ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, false),
            new StringDeserializer(),
            new ByteArrayDeserializer());
    // `partitionsFor` would wait for a topic that isn't there; the list comes at once.
    var partitions = consumer.listTopics().get(topic);
    if (partitions == null) {
      consumer.close();
      throw new Failed("there is no topic " + topic + " at " + options.brokers());
    }
    List<TopicPartition> places =
        partitions.stream().map(found -> new TopicPartition(topic, found.partition())).toList();
    consumer.assign(places);
    consumer.seekToEnd(places);
    // Seeking is lazy: the positions are asked for here, before anything is published.
    places.forEach(consumer::position);
    return consumer;
  }

  private static void publish(Options options, String topic, String key, byte[] value)
      throws Failed, InterruptedException {
    Map<String, Object> settings =
        Map.of(
            ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers(),
            ProducerConfig.MAX_BLOCK_MS_CONFIG, (long) millis(options.timeout()),
            ProducerConfig.REQUEST_TIMEOUT_MS_CONFIG, millis(options.timeout()),
            ProducerConfig.LINGER_MS_CONFIG, 0,
            ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, millis(options.timeout()));
    try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
      producer
          .send(new ProducerRecord<>(topic, key, value))
          .get(options.timeout().toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      throw new Failed("topic " + topic + " at " + options.brokers() + ": " + e.getCause().getMessage());
    } catch (TimeoutException e) {
      throw new Failed("topic " + topic + " at " + options.brokers() + ": no acknowledgement in time");
    }
  }

  /** The event that ends the execution; after it comes nothing. */
  private static GenericRecord follow(
      KafkaConsumer<String, byte[]> consumer, Registry registry, String topic, String key, long deadline)
      throws Failed, IOException {
    while (System.nanoTime() - deadline < 0) {
      for (var record : consumer.poll(Duration.ofMillis(200))) {
        if (!key.equals(record.key())) {
          continue;
        }
        GenericRecord event = unframed(registry, record.value());
        if (TERMINAL.contains(event.get("type").toString())) {
          return event;
        }
      }
    }
    throw new Failed("no answer for " + key + " in topic " + topic + " in time");
  }

  private static ObjectNode line(String id, GenericRecord event) throws IOException {
    String type = event.get("type").toString();
    ObjectNode line = JSON.createObjectNode().put("id", id).put("status", type.substring("execution_".length()));
    if (type.equals("execution_succeeded")) {
      JsonNode answer = event.get("data") == null ? null : JSON.readTree(event.get("data").toString());
      // The text of a chat answer; any other answer as it is.
      JsonNode text = answer == null ? null : answer.at("/choices/0/message/content");
      line.set("output", text == null || text.isMissingNode() ? answer : text);
    } else if (event.get("error") instanceof GenericRecord error) {
      line.putObject("error").put("code", error.get("code").toString()).put("message", error.get("message").toString());
    }
    return line;
  }

  private static int millis(Duration duration) {
    return (int) Math.max(1, Math.min(duration.toMillis(), Integer.MAX_VALUE));
  }

  private static int run(Options options) throws Failed, IOException, InterruptedException {
    long deadline = System.nanoTime() + options.timeout().toNanos();
    String requests = options.prefix() + "model-requests";
    String results = options.prefix() + "results";
    String subject = requests + "-io.stepstream.v1.ModelRequest";
    Registry registry = new Registry(options.registry());
    Registered registered =
        options.schema() == null
            ? registry.latest(subject)
            : registry.register(subject, new Schema.Parser().parse(Files.readString(options.schema())));
    String id = UUID.randomUUID().toString();
    byte[] value = framed(registered, request(registered.schema(), id, options));
    try (var consumer = consumerAtEnd(options, results)) {
      publish(options, requests, id, value);
      GenericRecord event = follow(consumer, registry, results, id, deadline);
      System.out.println(line(id, event));
      return event.get("type").toString().equals("execution_succeeded") ? 0 : 1;
    }
  }

  public static void main(String[] arguments) throws InterruptedException {
    try {
      System.exit(run(Options.parse(arguments)));
    } catch (IllegalArgumentException e) {
      System.err.println("publish: " + e.getMessage());
      System.err.println(
          "usage: --brokers HOST:PORT --registry URL --model ALIAS"
              + " [--prompt TEXT] [--timeout SECONDS] [--topic-prefix P] [--schema FILE]");
      System.exit(2);
    } catch (Failed | IOException | KafkaException e) {
      System.err.println("publish: " + e.getMessage());
      System.exit(1);
    }
  }
}
