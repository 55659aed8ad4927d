//! The sender: every outcome of a send, provoked on the embedded broker.

use bytes::Bytes;
use domain::partition::of_key;
use domain::topic::{Kind, Topic};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use runtime::ports::{Cluster as _, QueueFull, Report, Sender, Sent, Ticket};

use super::{Ends, embedded, inbox, never, outgoing, scanned};

const LOG: Topic = Topic::Log(Kind::Model);

fn ticket(sender: &dyn Sender, seq: u64) -> Ticket {
    Ticket { producer: sender.current(), partition: 0, incarnation: 1, seq }
}

fn sent(ends: &mut Ends) -> (u64, Sent) {
    match ends.report() {
        Report::Sent(ticket, sent) => (ticket.seq, sent),
        other => panic!("expected the end of a send, got {other:?}"),
    }
}

#[test]
fn acknowledgements_carry_the_ticket_and_the_offset_in_order() {
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    for seq in 0..500 {
        let record = outgoing(LOG, Some(2), "k", &seq.to_string());
        assert_eq!(sender.send(ticket(&*sender, seq), &record), Ok(()));
    }
    for seq in 0..500 {
        assert_eq!(sent(&mut ends), (seq, Sent::At(i64::try_from(seq).unwrap())));
    }
    let found = scanned(cluster.scan(Kind::Model, 2, 0, 499));
    let values: Vec<String> =
        found.iter().map(|raw| String::from_utf8(raw.value.to_vec()).unwrap()).collect();
    assert_eq!(values, (0..500).map(|seq: u64| seq.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_key_goes_where_every_other_client_puts_it() {
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    for (seq, key) in (0..).zip(["execution-1", "execution-2", "a", "ü", "session/9"]) {
        let partition = of_key(key.as_bytes(), 4);
        let (_, before) = cluster.watermarks(LOG, partition).unwrap();
        sender.send(ticket(&*sender, seq), &outgoing(LOG, None, key, "v")).unwrap();
        assert_eq!(sent(&mut ends), (seq, Sent::At(before)), "{key}");
        assert_eq!(cluster.watermarks(LOG, partition).unwrap().1, before + 1, "{key}");
    }
}

#[test]
fn a_record_that_the_client_finds_too_large_is_refused_and_the_others_go_on() {
    let (_embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    let mut large = outgoing(LOG, Some(0), "k", "v");
    large.value = Bytes::from(vec![b'x'; 1_000_001]);
    sender.send(ticket(&*sender, 1), &large).unwrap();
    assert!(matches!(sent(&mut ends), (1, Sent::Refused(_))));
    sender.send(ticket(&*sender, 2), &outgoing(LOG, Some(0), "k", "v")).unwrap();
    assert_eq!(sent(&mut ends), (2, Sent::At(0)));
}

#[test]
fn a_refusal_by_the_broker_is_pinned_on_its_record_by_the_next_producer() {
    let (embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    let too_large = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    embedded.with_mock(|mock| mock.request_errors(RDKafkaApiKey::Produce, &too_large));
    sender.send(ticket(&*sender, 1), &outgoing(LOG, Some(0), "k", "a")).unwrap();
    assert_eq!(sent(&mut ends), (1, Sent::Unknown), "it might have been another of the request");
    // The guarantee of no gaps forbids this producer to go on.
    sender.send(ticket(&*sender, 2), &outgoing(LOG, Some(0), "k", "b")).unwrap();
    assert_eq!(sent(&mut ends), (2, Sent::Unknown));

    assert_eq!(sender.replace().unwrap(), 2);
    embedded.with_mock(|mock| mock.request_errors(RDKafkaApiKey::Produce, &too_large));
    sender.send(ticket(&*sender, 3), &outgoing(LOG, Some(0), "k", "a")).unwrap();
    assert!(matches!(sent(&mut ends), (3, Sent::Refused(_))));

    assert_eq!(sender.replace().unwrap(), 3);
    sender.send(ticket(&*sender, 4), &outgoing(LOG, Some(0), "k", "b")).unwrap();
    assert_eq!(sent(&mut ends), (4, Sent::At(0)));
}

#[test]
fn a_replaced_producer_forgets_what_it_had_not_written() {
    let (embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    assert_eq!(sender.current(), 1);
    embedded.take_down().unwrap();
    for seq in 0..10 {
        sender.send(ticket(&*sender, seq), &outgoing(LOG, Some(0), "k", "old")).unwrap();
    }
    assert_eq!(sender.replace().unwrap(), 2);
    assert_eq!(sender.current(), 2);
    never("a report about a purged record", || ends.reports.try_recv().ok());
    embedded.bring_up().unwrap();
    sender.send(ticket(&*sender, 11), &outgoing(LOG, Some(0), "k", "new")).unwrap();
    assert_eq!(sent(&mut ends), (11, Sent::At(0)));
}

#[test]
fn a_first_request_that_must_be_repeated_writes_every_record_once() {
    // With more than one request in flight librdkafka acknowledges records here that were never written.
    let (embedded, cluster) = embedded();
    let (inbox, mut ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    let again = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3];
    embedded.with_mock(|mock| mock.request_errors(RDKafkaApiKey::Produce, &again));
    for seq in 0..4 {
        sender.send(ticket(&*sender, seq), &outgoing(LOG, Some(0), "k", "v")).unwrap();
    }
    for seq in 0..4 {
        assert_eq!(sent(&mut ends), (seq, Sent::At(i64::try_from(seq).unwrap())));
    }
    assert_eq!(cluster.watermarks(LOG, 0).unwrap(), (0, 4));
}

#[test]
fn a_full_queue_takes_nothing_and_says_so() {
    let (embedded, _) = embedded();
    let mut settings = embedded.settings("test");
    settings.properties.insert("queue.buffering.max.messages".into(), "10".into());
    let cluster = embedded.cluster_with(settings, schemas::Ids::new()).unwrap();
    embedded.take_down().unwrap();
    let (inbox, _ends) = inbox();
    let sender = cluster.sender(inbox).unwrap();
    let taken = (0..100)
        .take_while(|seq| {
            let record = outgoing(LOG, Some(0), "k", "v");
            sender.send(ticket(&*sender, *seq), &record) != Err(QueueFull)
        })
        .count();
    assert_eq!(taken, 10);
}

#[test]
fn deltas_never_block_and_never_fail() {
    let (embedded, cluster) = embedded();
    let deltas = cluster.deltas().unwrap();
    deltas.send("execution", b"token".to_vec(), vec![("fence".into(), Bytes::from("7"))]);
    let partition = of_key(b"execution", 4);
    super::soon("the chunk", || {
        (cluster.watermarks(Topic::Stream, partition).unwrap().1 == 1).then_some(())
    });
    embedded.take_down().unwrap();
    for _ in 0..30_000 {
        deltas.send("execution", b"token".to_vec(), Vec::new());
    }
}
