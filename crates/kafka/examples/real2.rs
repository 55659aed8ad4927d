//! Temporary probe.
#![allow(clippy::all, missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use std::time::{Duration, Instant};
use std::collections::BTreeMap;
use bytes::Bytes;
use domain::topic::Kind;
use domain::time::Millis;
use stepstream_kafka::*;
use stepstream_kafka::topics::{Layout, admin::Admin};
use runtime::ports::{Batch, Cluster as ClusterPort};
fn main() {
    let brokers = std::env::args().nth(1).unwrap();
    let prefix = format!("u{}-", std::process::id());
    let settings = Settings { brokers, prefix: prefix.clone(), client_id: "probe".into(), properties: BTreeMap::new(), stack: Stack::Real };
    let registry = Registry::connect(registry::Settings::at("http://127.0.0.1:1")).unwrap();
    let ids = schemas::Ids::for_tests();
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    rt.block_on(async { Admin::connect(&settings).unwrap().apply(Layout::DEV, &ids, Millis(1)).await.unwrap(); });
    let cluster = stepstream_kafka::Cluster::connect(settings.clone(), registry, ids.clone()).unwrap();
    for p in 0..3 {
        let mut c = cluster.checkpoints(Kind::Model, p).unwrap();
        for _ in 0..2 {
        let t = Instant::now();
        c.take_over().unwrap();
        println!("take over {p} {:?}", t.elapsed());
        let t = Instant::now();
        c.restore(&mut |_, _| {}).unwrap();
        println!("restore {:?}", t.elapsed());
        for _ in 0..4 {
        let t = Instant::now();
        c.commit(Batch { entries: (0..50).map(|i| (Bytes::from(format!("k{i}")), Some(Bytes::from(vec![1u8; 200])))).collect(), rows: (0..50).map(|i| (Bytes::from(format!("e{i}")), Bytes::from(vec![2u8; 200]))).collect() }).unwrap();
        println!("commit {:?}", t.elapsed());
        std::thread::sleep(Duration::from_millis(100));
        }
        }
    }
}
