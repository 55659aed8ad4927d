//! Filling a store from the topics, and comparing it with them.

use super::*;
use crate::rebuild::{self, Done, RebuildError};

fn parts(world: &World) -> Parts {
    Parts {
        topics: world.topics.clone(),
        ids: Ids::for_tests(),
        store: world.store.clone(),
        resolve: world.resolve.clone(),
    }
}

async fn write(world: &World) -> Result<Vec<Done>, RebuildError> {
    let mut done = Vec::new();
    for topic in rebuild::TOPICS {
        done.push(rebuild::write(topic, &parts(world), |_| {}).await?);
    }
    Ok(done)
}

async fn missing(world: &World, since: i64) -> Vec<(u64, Option<String>)> {
    let mut missing = Vec::new();
    for topic in rebuild::TOPICS {
        let done = rebuild::compare(topic, &parts(world), Millis(since), |_| {}).await.unwrap();
        missing.push((done.missing, done.first_missing));
    }
    missing
}

const NOTHING: [(u64, Option<String>); 2] = [(0, None), (0, None)];

#[tokio::test]
async fn whole_topics_are_written_and_found_again() {
    let mut topics = three();
    topics[0].1.push(vec![9, 9]);
    let world = World::new(topics);
    let lacking = missing(&world, i64::MIN).await;
    assert_eq!(lacking[0], (3, Some("event 0.1 of t/a".into())));
    assert_eq!(lacking[1].0, 2);
    assert_eq!(missing(&world, 2).await[0].0, 2, "what is too old isn't looked for");
    // As often as one likes.
    for _ in 0..2 {
        let done = write(&world).await.unwrap();
        let Done { records, events, ends, unreadable, next, .. } = &done[0];
        assert_eq!((*records, *events, *ends, *unreadable), (4, 3, 1, 1));
        assert_eq!((next, done[1].rows), (&BTreeMap::from([(0, 4)]), 2));
        assert_eq!(missing(&world, i64::MIN).await, NOTHING);
        assert_eq!(world.status("a").await, Some(Status::Succeeded));
        // An archive goes on from here.
        assert_eq!(world.store.progress("results", 0).await.unwrap(), Some(4));
    }
}

#[tokio::test]
async fn what_a_newer_generation_replaced_is_not_missing() {
    let mut newer = ExecutionEvent {
        generation: 1,
        ..Ids::for_tests().read(&event("a", 2, EventType::Failed)).unwrap()
    };
    newer.data = Some("other".into());
    let mut topics = three();
    topics[0].1.push(Ids::for_tests().frame(&newer).unwrap());
    let world = World::new(topics);
    write(&world).await.unwrap();
    assert_eq!(missing(&world, i64::MIN).await, NOTHING);
    assert_eq!(world.status("a").await, Some(Status::Failed));
}

#[tokio::test(start_paused = true)]
async fn store_that_is_away_for_a_while_is_waited_for_and_one_that_stays_away_is_named() {
    let world = World::new(three());
    world.store.fails.store(true, Ordering::SeqCst);
    let store = world.store.clone();
    let back = tokio::spawn(async move {
        while store.failed.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        store.fails.store(false, Ordering::SeqCst);
    });
    assert_eq!(write(&world).await.unwrap()[0].events, 3);
    back.await.unwrap();
    world.store.fails.store(true, Ordering::SeqCst);
    let error = write(&world).await.unwrap_err().to_string();
    assert_eq!(error, "the store failed at records of results");
}
