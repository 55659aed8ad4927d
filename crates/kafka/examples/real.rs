//! Temporary probe against a real broker.
#![allow(clippy::all, missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use std::time::{Duration, Instant};
use std::collections::BTreeMap;
use bytes::Bytes;
use domain::topic::{Kind, Topic};
use domain::time::Millis;
use stepstream_kafka::{self as kafka, *};
use stepstream_kafka::topics::{Layout, admin::Admin};
use runtime::ports::{Batch, Checkpoints, Confirmed, Inbox, Outgoing, Publish, RECORD_BATCHES, Records, Report, Sent, Side, TailFrom, Ticket, Topics, Membership, Reader, Sender, Tail};
use runtime::ports::Cluster as ClusterPort;
use tokio::sync::mpsc;

fn inbox() -> (Inbox, mpsc::UnboundedReceiver<Report>, mpsc::Receiver<Records>) {
    let (a, b) = mpsc::unbounded_channel();
    let (c, d) = mpsc::channel(RECORD_BATCHES);
    (Inbox { reports: a, records: c }, b, d)
}
fn now() -> i64 { std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64 }

fn main() {
    let brokers = std::env::args().nth(1).unwrap();
    let registry_url = std::env::args().nth(2).unwrap();
    let prefix = format!("t{}-", now());
    let settings = Settings { brokers, prefix: prefix.clone(), client_id: "probe".into(), properties: BTreeMap::new(), stack: Stack::Real };
    let registry = Registry::connect(registry::Settings::at(registry_url)).unwrap();
    let ids = schemas::Ids::new();
    let t = Instant::now();
    println!("registered {:?} in {:?}", registry.register_all(&ids, &prefix), t.elapsed());
    println!("missing {:?}; fetch 1 {:?}; fetch 99999 {:?}", ids.missing().len(), registry.fetch(1).map(|s| s.is_some()), registry.fetch(99999));
    println!("incompatible: {:?}", registry.register(&schemas::subjects::all(&prefix).next().unwrap().0, r#"{"type":"record","name":"ModelRequest","namespace":"io.stepstream.v1","fields":[{"name":"zzz","type":"int"}]}"#));
    println!("bad: {:?}", registry.register("x", "{"));
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let t = Instant::now();
    rt.block_on(async {
        let admin = Admin::connect(&settings).unwrap();
        print!("{}", admin.plan(Layout::DEV).await.unwrap().to_string().lines().take(2).collect::<Vec<_>>().join("\n"));
        println!("\napplied {:?}", admin.apply(Layout::DEV, &ids, Millis(now())).await.map(|a| (a.created.len(), a.genesis, a.altered)));
        print!("{}", admin.plan(Layout::DEV).await.unwrap());
        let more = admin.plan(Layout { partitions: 8, ..Layout::DEV }).await.unwrap();
        println!("refused with 8: {} first {}", more.refused.len(), more.refused[0].reason);
        let min2 = Layout { min_in_sync: 2, ..Layout::DEV };
        println!("altered {:?}", admin.apply(min2, &ids, Millis(0)).await);
        println!("altered back {:?}", admin.apply(Layout::DEV, &ids, Millis(0)).await);
        println!("again {}", admin.plan(Layout::DEV).await.unwrap().is_empty());
    });
    println!("topics in {:?}", t.elapsed());
    let cluster = kafka::Cluster::connect(settings.clone(), registry, ids.clone()).unwrap();
    println!("partitions {:?}", cluster.partitions(Kind::Model));
    // membership
    let (ib, mut rep, _rec) = inbox();
    let t = Instant::now();
    let a = cluster.join(Kind::Model, ib).unwrap();
    let r = rep.blocking_recv().unwrap();
    println!("first {r:?} in {:?}", t.elapsed());
    println!("confirm empty {:?}", a.confirm(&[]));
    let t = Instant::now();
    for i in 0..50 { assert_eq!(a.confirm(&[(0, i)]), Confirmed::Owner); }
    println!("confirm x50 {:?}", t.elapsed() / 50);
    let (ib2, mut rep2, _rec2) = inbox();
    let b = cluster.join(Kind::Model, ib2).unwrap();
    let t = Instant::now();
    let mut answers = BTreeMap::new();
    let (parts, done) = loop {
        match rep.try_recv() { Ok(Report::Revoked { partitions, done }) => break (partitions, done), Ok(o) => println!("other {o:?}"), Err(_) => {} }
        *answers.entry(format!("{:?}", a.confirm(&[(0, 1)]))).or_insert(0) += 1;
    };
    println!("revoked {parts:?} after {:?}; answers of a meanwhile {answers:?}", t.elapsed());
    println!("a confirms revoked, before done: {:?}", a.confirm(&[(parts[0], 1)]));
    drop(done);
    println!("b {:?}", rep2.blocking_recv().unwrap());
    println!("a: {:?} {:?}; b: {:?}", a.confirm(&[(parts[0], 1)]), (0..4).filter(|p| !parts.contains(p)).map(|p| a.confirm(&[(p, 1)])).collect::<Vec<_>>(), b.confirm(&[(parts[0], 1)]));
    let t = Instant::now();
    drop(b);
    println!("b left in {:?}; a {:?}", t.elapsed(), rep.blocking_recv().unwrap());
    // hop latency: sender -> log -> reader
    let (ib, mut rep3, mut rec3) = inbox();
    let sender = cluster.sender(ib.clone()).unwrap();
    let reader = cluster.reader(Kind::Model, ib).unwrap();
    for p in 0..4 { reader.start(Side::Log, p, 0, 1); reader.start(Side::Feed, p, -2, 1); }
    std::thread::sleep(Duration::from_millis(500));
    let mut lat = Vec::new();
    let mut ack = Vec::new();
    for i in 0..600u64 {
        let o = Outgoing { topic: Topic::Log(Kind::Model), partition: Some((i % 4) as i32), key: Some(Bytes::from("k")), value: Bytes::from(vec![7u8; 256]), headers: vec![("ce_id".into(), Bytes::from("x"))] };
        let t = Instant::now();
        sender.send(Ticket { producer: 1, partition: 0, incarnation: 0, seq: i }, &o).unwrap();
        let batch = rec3.blocking_recv().unwrap();
        let d = t.elapsed();
        let Report::Sent(_, s) = rep3.blocking_recv().unwrap() else { panic!() };
        assert!(matches!(s, Sent::At(_)));
        if i > 100 { lat.push(d); ack.push(t.elapsed()); }
        assert_eq!(batch.records.len(), 1);
        if i == 0 { println!("time {} now {}", batch.records[0].time.0, now()); }
        std::thread::sleep(Duration::from_millis(3));
    }
    lat.sort(); ack.sort();
    println!("hop p50 {:?} p99 {:?}; ack p50 {:?}", lat[lat.len()/2], lat[lat.len()*99/100], ack[ack.len()/2]);
    // throughput
    let t = Instant::now();
    let n = 200_000u64;
    let s2 = sender.clone();
    let h = std::thread::spawn(move || for i in 0..n {
        let o = Outgoing { topic: Topic::Log(Kind::Model), partition: Some((i % 4) as i32), key: Some(Bytes::from("k")), value: Bytes::from(vec![7u8; 256]), headers: vec![("ce_id".into(), Bytes::from("x"))] };
        while s2.send(Ticket { producer: 1, partition: 0, incarnation: 0, seq: i }, &o).is_err() { std::thread::sleep(Duration::from_millis(1)); }
    });
    let mut got = 0; let mut batches = 0;
    while got < n { let b = rec3.blocking_recv().unwrap(); got += b.records.len() as u64; batches += 1; }
    println!("{n} in {:?} = {:.0}/s, {batches} batches", t.elapsed(), n as f64 / t.elapsed().as_secs_f64());
    h.join().unwrap();
    let mut acks = 0; while acks < n { if let Report::Sent(_, Sent::At(_)) = rep3.blocking_recv().unwrap() { acks += 1; } else { panic!() } }
    // out of range
    reader.start(Side::Log, 0, 99_999_999, 5);
    println!("{:?}", rep3.blocking_recv().unwrap());
    // pause/resume latency when idle
    reader.pause(Side::Feed, 0);
    std::thread::sleep(Duration::from_millis(200));
    let publisher = cluster.publisher().unwrap();
    let o = Outgoing { topic: Topic::Feed(Kind::Model), partition: Some(0), key: Some(Bytes::from("k")), value: Bytes::from("v"), headers: vec![] };
    println!("published {:?}", rt.block_on(publisher.publish(o.clone())));
    let t = Instant::now();
    reader.resume(Side::Feed, 0);
    let b = rec3.blocking_recv().unwrap();
    println!("resumed after {:?} {:?}", t.elapsed(), (b.side, b.partition));
    // checkpoints
    let mut c = cluster.checkpoints(Kind::Model, 2).unwrap();
    let t = Instant::now();
    c.take_over().unwrap();
    println!("take over {:?}", t.elapsed());
    let mut seen = Vec::new();
    let t = Instant::now();
    c.restore(&mut |k: Bytes, v: Option<Bytes>| seen.push((String::from_utf8_lossy(&k).into_owned(), v.is_some()))).unwrap();
    println!("restore {:?} {seen:?}", t.elapsed());
    let batch = |n: usize| Batch { entries: (0..n).map(|i| (Bytes::from(format!("k{i}")), if i % 7 == 3 { None } else { Some(Bytes::from(vec![1u8; 200])) })).collect(), rows: (0..n).map(|i| (Bytes::from(format!("e{i}")), Bytes::from(vec![2u8; 200]))).collect() };
    let mut times = Vec::new();
    for _ in 0..30 { let t = Instant::now(); c.commit(batch(50)).unwrap(); times.push(t.elapsed()); std::thread::sleep(Duration::from_millis(20)); }
    times.sort();
    println!("commit of 50+50 p50 {:?} max {:?}", times[15], times[29]);
    let t = Instant::now();
    println!("commit 20000: {:?} {:?}", c.commit(batch(20_000)), t.elapsed());
    let t = Instant::now();
    let mut count = 0;
    c.restore(&mut |_, _| count += 1).unwrap();
    println!("restore {count} (expect {}) in {:?}", 1 + 30 * 50 + 20_000, t.elapsed());
    let mut d = cluster.checkpoints(Kind::Model, 2).unwrap();
    d.take_over().unwrap();
    println!("zombie: {:?}", c.commit(batch(2)));
    println!("rightful: {:?}", d.commit(batch(2)));
    println!("zombie comes back: {:?}", c.take_over());
    println!("then d: {:?}", d.commit(batch(2)));
    // aborted at the end: restore must not hang (too large for the broker)
    let big = Batch { entries: vec![(Bytes::from("big"), Some(Bytes::from(vec![0u8; 1_200_000])))], rows: vec![] };
    println!("too large: {:?}", c.commit(big));
    let mut count2 = 0;
    let t = Instant::now();
    c.restore(&mut |_, _| count2 += 1).unwrap();
    println!("restore after abort {count2} {:?}", t.elapsed());
    println!("next: {:?}", c.commit(batch(2)));
    // scan
    println!("scan {:?}", cluster.scan(Kind::Model, 1, 10, 12).map(|v| v.iter().map(|r| r.offset).collect::<Vec<_>>()));
    // tail
    rt.block_on(async {
        let mut tail = cluster.tail(Topic::ExecutionLog, TailFrom::Earliest).unwrap();
        let t = Instant::now();
        let mut n = 0;
        while !tail.caught_up() {
            match tokio::time::timeout(Duration::from_millis(50), tail.next()).await { Ok(b) => n += b.unwrap().len(), Err(_) => {} }
        }
        println!("tail {n} rows in {:?}", t.elapsed());
        let mut tail = cluster.tail(Topic::Results, TailFrom::Latest).unwrap();
        let mut o = o; o.topic = Topic::Results;
        let mut l = Vec::new();
        for _ in 0..100 { let t = Instant::now(); publisher.publish(o.clone()).await.unwrap(); let p = t.elapsed(); tail.next().await.unwrap(); l.push((t.elapsed(), p)); tokio::time::sleep(Duration::from_millis(2)).await; }
        l.sort();
        println!("publish->tail p50 {:?}", l[50]);
    });
    drop(a);
}
