//! Requests that are tried again, and those that are not.

use super::env::{Does, Env, endpoints, piped, text};
use crate::UpstreamErrorKind::{Failed, Request as Unfit, Unreachable};
use crate::{CallError, UpstreamError, empty, full};

/// Two replicas of which whichever is asked first does this; the second answers.
fn env(first: &UpstreamError) -> Env {
    let env = Env::new(endpoints(2, |_| {}));
    for index in 0..2 {
        env.replicas.script(index, &[Does::Fails(first.clone())]);
    }
    env
}

fn failed() -> UpstreamError {
    Failed("it trapped".to_owned()).after()
}

#[tokio::test(start_paused = true)]
async fn a_safe_request_is_tried_elsewhere_and_only_as_often_as_the_service_says() {
    for (retries, expected) in [(0, 1), (1, 2), (5, 2)] {
        let env = Env::new(endpoints(2, |told| told.http.retries = retries));
        (0..2).for_each(|index| env.replicas.script(index, &[Does::Fails(failed())]));
        let error = env.get().await.unwrap_err();
        assert!(matches!(error, CallError::Failed { .. }), "{error}");
        let asked = env.replicas.asked();
        assert_eq!(asked.len(), expected, "each replica once at most");
        assert!(asked.len() < 2 || asked[0] != asked[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_replica_answers_for_the_first() {
    let env = Env::new(endpoints(2, |_| {}));
    fastrand::seed(1);
    env.replicas.script(0, &[Does::Fails(failed())]);
    for _ in 0..4 {
        assert_eq!(env.get().await.unwrap(), "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_have_had_an_effect_is_not_tried_again() {
    let env = env(&failed());
    let error = env.call("POST", full("order")).await.unwrap_err();
    assert!(error.to_string().contains("it trapped"), "{error}");
    assert_eq!(env.replicas.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_guest_has_seen_is_tried_again_whatever_it_is() {
    let env = env(&Unreachable("refused".to_owned()).before());
    env.call("POST", full("order")).await.unwrap_err();
    assert_eq!(env.replicas.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_is_not_tried_again() {
    let env = env(&Unfit("its path is none".to_owned()).before());
    env.call("GET", empty()).await.unwrap_err();
    assert_eq!(env.replicas.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_again_with_the_request() {
    let env = Env::new(endpoints(2, |_| {}));
    for index in 0..2 {
        let first = Does::Fails(Unreachable("gone".to_owned()).after());
        env.replicas.script(index, &[first, Does::Echoes]);
    }
    env.get().await.unwrap_err();
    let put = env.call("PUT", full("the whole")).await.unwrap();
    assert_eq!(text(put).await, "the whole");
}

#[tokio::test(start_paused = true)]
async fn a_large_body_of_which_something_was_taken_is_not_sent_again() {
    fastrand::seed(1);
    let env = Env::with(endpoints(2, |_| {}), |config| config.gather = 4);
    env.replicas.script(0, &[Does::Breaks { announced: 1, sent: 0 }]);
    env.replicas.script(1, &[Does::Echoes]);
    for _ in 0..4 {
        let (pieces, body) = piped();
        tokio::spawn(async move {
            for _ in 0..3 {
                pieces.send(Ok("piece".into())).await.unwrap();
            }
        });
        // The one that breaks off asks for nothing of the rest: the other gets it all.
        let put = env.call("PUT", body).await.unwrap();
        assert_eq!(text(put).await, "piecepiecepiece");
    }
    assert!(env.replicas.asked().contains(&0));

    let env = Env::with(endpoints(2, |_| {}), |config| config.gather = 4);
    (0..2).for_each(|index| env.replicas.script(index, &[Does::Echoes]));
    let (pieces, body) = piped();
    pieces.try_send(Ok("piece".into())).unwrap();
    pieces.try_send(Err("the client is gone".into())).unwrap();
    let error = env.call("PUT", body).await.unwrap_err();
    assert_eq!(error, CallError::Body("the client is gone".to_owned()));
    assert_eq!(env.replicas.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_while_it_is_small_is_tried_again() {
    let env = Env::new(endpoints(2, |_| {}));
    (0..2).for_each(|index| {
        env.replicas
            .script(index, &[Does::Breaks { announced: 10, sent: 5 }, Does::Answers("ten")]);
    });
    env.get().await.unwrap_err();
    assert_eq!(env.replicas.asked().len(), 2);
    assert_eq!(env.get().await.unwrap(), "ten");
}

#[tokio::test(start_paused = true)]
async fn tries_are_bounded_by_a_share_of_the_requests() {
    let env = Env::new(endpoints(4, |told| {
        told.http.retries = 5;
        told.revisions[0].concurrency = 10;
    }));
    (0..4).for_each(|index| env.replicas.script(index, &[Does::Fails(failed())]));
    for _ in 0..500 {
        env.get().await.unwrap_err();
    }
    let asked = env.replicas.asked().len();
    assert!((500..=500 + 100 + 10).contains(&asked), "{asked} for 500 requests");
    assert!(asked >= 600, "and the share is used: {asked}");
}
