//! Bodies that are fetched and answers that are kept, over an in-memory store.

use std::sync::Arc;

use domain::claim::ClaimCheck;
use domain::request::{JSON, ModelRequest};
use store::Embedded;

use super::*;

/// A limit that small texts pass.
const LIMIT: usize = 64;

fn claims() -> Claims {
    Claims::new(Arc::new(Embedded::in_memory().expect("memory")), LIMIT)
}

fn chat(words: usize) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "word ".repeat(words))
}

async fn claimed(claims: &Claims, tenant: &str, body: &str) -> ModelRequest {
    let Checked::Claimed(claim) = claims.check_in(tenant, body.into(), JSON).await.unwrap() else {
        panic!("{} bytes are not large", body.len())
    };
    ModelRequest { body_claim: Some(claim), ..ModelRequest::new("call-1", "fast", "") }
}

async fn refused(large: &Large, request: &ModelRequest) -> Failure {
    match large.fetch(request).await {
        Err(failure) => failure,
        Ok(_) => panic!("{request:?} was fetched"),
    }
}

fn outcome(body: String) -> ModelOutcome {
    ModelOutcome { body, ..crate::tests::outcome() }
}

#[tokio::test]
async fn body_is_fetched_where_a_claim_check_stands_for_it() {
    let claims = claims();
    let large = Large::new(Some(claims.clone()));
    let body = chat(50);
    let request = claimed(&claims, "default", &body).await;
    let fetched = large.fetch(&request).await.unwrap().expect("a body");
    assert_eq!((fetched.request.body.as_str(), &fetched.request.body_claim), (&*body, &None));
    assert!(large.fetch(&ModelRequest::new("call-1", "fast", chat(1))).await.unwrap().is_none());
}

#[tokio::test]
async fn body_that_cannot_be_had_fails_the_call_with_what_to_do() {
    let claims = claims();
    let large = Large::new(Some(claims.clone()));
    let request = claimed(&claims, "default", &chat(50)).await;
    let alone = refused(&Large::new(None), &request).await;
    assert_eq!((alone.code.as_str(), alone.retryable), ("no_shared_store", false));
    assert!(alone.message.contains("store.kind"), "{alone}");
    let theirs = ModelRequest { tenant: "other".into(), ..request.clone() };
    let gone = refused(&large, &theirs).await;
    assert_eq!((gone.code.as_str(), gone.class), ("body_gone", ErrorClass::NotFound));
    assert!(!gone.retryable);
    let no_chat =
        claimed(&claims, "default", &format!(r#"{{"input":"{}"}}"#, "x".repeat(99))).await;
    let invalid = refused(&large, &no_chat).await;
    assert_eq!(invalid.code, "invalid_request");
    assert!(invalid.message.contains("body.messages"), "{invalid}");
    let claim = ClaimCheck { length: i64::MAX, ..request.body_claim.clone().expect("a claim") };
    let lie = ModelRequest { body_claim: Some(claim), ..request };
    assert_eq!(refused(&large, &lie).await.code, "body_unusable");
}

#[tokio::test]
async fn large_answer_is_kept_beside_its_outcome_and_a_small_one_in_it() {
    let claims = claims();
    let large = Large::new(Some(claims.clone()));
    let small = large.keep("default", outcome("{}".into())).await.unwrap();
    assert_eq!((small.body.as_str(), small.body_claim), ("{}", None));
    let body = chat(50);
    let kept = large.keep("default", outcome(body.clone())).await.unwrap();
    let claim = kept.body_claim.expect("a claim check");
    assert_eq!(kept.body, "");
    assert_eq!(claims.text("default", &claim).await.unwrap(), body);
}

#[tokio::test]
async fn without_a_shared_store_an_answer_that_fits_no_record_fails_with_what_to_do() {
    let large = Large::new(None);
    let fits = large.keep("default", outcome(chat(1_000))).await.unwrap();
    assert_eq!((fits.body.len(), fits.body_claim), (chat(1_000).len(), None));
    let failure = large.keep("default", outcome(chat(300_000))).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (ErrorClass::TooLarge, "outcome_too_large"));
    assert!(failure.message.contains("store.kind"), "{failure}");
}
