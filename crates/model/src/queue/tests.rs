//! Who goes first, who is told what, and what it is judged by.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::advance;

use super::*;

type Entering<'a> = Pin<Box<dyn Future<Output = Permit> + 'a>>;
type Told = Arc<Mutex<Vec<QueuePlace>>>;

fn poll(entering: &mut Entering<'_>) -> Option<Permit> {
    match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

/// One that comes, and what it is told.
fn come(gate: &Arc<Gate>, limit: u32, priority: i32) -> (Entering<'_>, Told) {
    let told = Told::default();
    let notes = Arc::clone(&told);
    let entering = Box::pin(async move {
        gate.enter(limit, priority, &mut |place| notes.lock().unwrap().push(place)).await
    });
    (entering, told)
}

fn enter(gate: &Arc<Gate>, priority: i32) -> (Entering<'_>, Option<Permit>) {
    let (mut entering, _) = come(gate, 1, priority);
    let permit = poll(&mut entering);
    (entering, permit)
}

fn positions(told: &Told) -> Vec<u64> {
    told.lock().unwrap().iter().map(|place| place.position).collect()
}

fn newest_wait(told: &Told) -> Option<u64> {
    told.lock().unwrap().last().expect("it was told something").estimated_wait_ms
}

#[tokio::test(start_paused = true)]
async fn higher_priority_goes_first_and_equals_go_in_order() {
    let gate = Arc::new(Gate::default());
    let (_, mut running) = enter(&gate, 0);
    let mut queue: Vec<_> = [0, 5, 0, 5, -1].map(|p| enter(&gate, p).0).into();
    assert_eq!(gate.load(), 6);
    for expected in [1, 3, 0, 2, 4] {
        drop(running.take());
        let let_in: Vec<usize> = (0..queue.len())
            .filter(|i| {
                running = poll(&mut queue[*i]).or(running.take());
                running.is_some()
            })
            .take(1)
            .collect();
        assert_eq!(let_in, [expected]);
        queue[expected] = Box::pin(std::future::pending());
    }
}

#[tokio::test(start_paused = true)]
async fn place_of_one_who_left_goes_to_the_next() {
    let gate = Arc::new(Gate::default());
    let (_, running) = enter(&gate, 0);
    let (waits, _) = enter(&gate, 0);
    let (was_let_in, _) = enter(&gate, 0);
    let (mut last, _) = enter(&gate, 0);
    drop(waits);
    drop(running);
    assert!(poll(&mut last).is_none(), "another is before it");
    drop(was_let_in);
    let _running = poll(&mut last).expect("its turn");
    assert_eq!(gate.load(), 1);
}

#[tokio::test(start_paused = true)]
async fn raised_limit_lets_those_in_who_wait() {
    let gate = Arc::new(Gate::default());
    let (_, _running) = enter(&gate, 0);
    let (mut waits, _) = enter(&gate, 0);
    let (mut third, _) = come(&gate, 3, 0);
    let _third = poll(&mut third).expect("three may run");
    assert!(poll(&mut waits).is_some());
}

#[tokio::test(start_paused = true)]
async fn positions_are_told_at_once_and_fall_as_others_go() {
    let gate = Arc::new(Gate::default());
    let (mut first, nothing) = come(&gate, 1, 0);
    let mut running = poll(&mut first);
    assert!(positions(&nothing).is_empty(), "who doesn't wait isn't told");
    let mut queue = [0, 1, 2].map(|_| come(&gate, 1, 0));
    for (entering, _) in &mut queue {
        assert!(poll(entering).is_none());
    }
    for next in 0..3 {
        advance(TELL_EVERY * 2).await;
        drop(running.take());
        for (entering, _) in &mut queue[next..] {
            running = poll(entering).or(running);
        }
    }
    let all = queue.each_ref().map(|(_, told)| positions(told));
    assert_eq!(all, [vec![1], vec![2, 1], vec![3, 2, 1]]);
}

#[tokio::test(start_paused = true)]
async fn somebody_more_urgent_moves_others_back() {
    let gate = Arc::new(Gate::default());
    let (_, _running) = enter(&gate, 0);
    let (mut waits, told) = come(&gate, 1, 0);
    assert!(poll(&mut waits).is_none());
    let (_urgent, _) = enter(&gate, 9);
    advance(TELL_EVERY).await;
    assert!(poll(&mut waits).is_none());
    assert_eq!(positions(&told), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_more_than_once_a_second_or_the_same_twice() {
    let gate = Arc::new(Gate::default());
    let (_, _running) = enter(&gate, 0);
    let mut before: Vec<_> = (0..20).map(|_| enter(&gate, 0).0).collect();
    let (mut waits, told) = come(&gate, 1, 0);
    assert!(poll(&mut waits).is_none());
    for _ in 0..20 {
        before.pop();
        advance(TELL_EVERY / 10).await;
        assert!(poll(&mut waits).is_none());
    }
    assert_eq!(positions(&told), [21, 11, 1]);
    for _ in 0..10 {
        // Others come behind it: nothing has changed for this one.
        before.push(enter(&gate, 0).0);
        advance(TELL_EVERY).await;
        assert!(poll(&mut waits).is_none());
    }
    assert_eq!(positions(&told), [21, 11, 1]);
}

#[test]
fn those_far_back_are_told_less_often() {
    for (position, seconds) in
        [(1, 1), (99, 1), (100, 2), (1_000, 11), (u64::MAX, u64::from(u32::MAX))]
    {
        assert_eq!(pause_after(position).as_secs(), seconds, "{position}");
    }
}

#[tokio::test(start_paused = true)]
async fn estimate_follows_how_long_places_are_held() {
    let gate = Arc::new(Gate::default());
    let (mut first, _) = come(&gate, 2, 0);
    let first = poll(&mut first);
    let (mut second, _) = come(&gate, 2, 0);
    let second = poll(&mut second);
    let (mut third, told) = come(&gate, 2, 0);
    assert!(poll(&mut third).is_none());
    assert_eq!(newest_wait(&told), None, "no call has ended yet");
    advance(Duration::from_secs(8)).await;
    drop(first);
    let third = poll(&mut third).expect("its turn");
    let mut queue = [0, 1, 2].map(|_| come(&gate, 2, 0));
    for (waits, _) in &mut queue {
        assert!(poll(waits).is_none());
    }
    // Two run at once and take 8 s each.
    let estimates = queue.each_ref().map(|(_, told)| newest_wait(told));
    assert_eq!(estimates, [Some(4_000), Some(8_000), Some(12_000)]);
    // One that takes 16 s counts as an eighth: 9 s; a place that wasn't used says nothing.
    advance(Duration::from_secs(8)).await;
    drop(second);
    third.unused();
    assert_eq!(gate.lock().mean, Some(Duration::from_secs(9)));
}
