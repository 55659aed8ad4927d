//! The topics by the names that people type, and what may be done to each by hand.

use domain::topic::Topic;

/// Not a topic of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no topic {name}; there are {}", names())]
pub struct NoSuchTopic {
    name: String,
}

fn names() -> String {
    Topic::ALL.map(Topic::name).join(", ")
}

/// The topic of that name, without the prefix.
///
/// # Errors
/// [`NoSuchTopic`], with those there are.
pub fn named(name: &str) -> Result<Topic, NoSuchTopic> {
    let known = Topic::ALL.into_iter().find(|topic| topic.name() == name);
    known.ok_or_else(|| NoSuchTopic { name: name.to_owned() })
}

/// The feed of that name.
pub(crate) fn feed(name: &str) -> Result<Topic, NoSuchTopic> {
    let feed = named(name)?;
    let is_feed = matches!(feed, Topic::Feed(_));
    is_feed.then_some(feed).ok_or_else(|| NoSuchTopic { name: name.to_owned() })
}

/// A topic that nothing may be copied into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is written by its processor only: {}", .0.name(), why(*.0))]
pub struct Internal(pub Topic);

fn why(topic: Topic) -> &'static str {
    match topic {
        Topic::State(_) => "a foreign entry would be restored as state",
        _ => "a copied fact would be folded as if it had happened",
    }
}

/// Whether records may be copied into it.
///
/// # Errors
/// [`Internal`]: the logs and the state of the processors.
pub fn check_target(topic: Topic) -> Result<(), Internal> {
    match topic {
        Topic::Log(_) | Topic::State(_) => Err(Internal(topic)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_found_by_its_name() {
        for topic in Topic::ALL {
            assert_eq!(named(topic.name()), Ok(topic));
        }
        let refused = named("model-request").unwrap_err().to_string();
        assert!(refused.contains("model-requests"), "{refused}");
    }

    #[test]
    fn logs_and_state_are_no_targets() {
        let refused: Vec<_> =
            Topic::ALL.into_iter().filter(|topic| check_target(*topic).is_err()).collect();
        assert_eq!(refused.len(), 8);
        for topic in refused {
            assert!(matches!(topic, Topic::Log(_) | Topic::State(_)), "{topic:?}");
        }
    }
}
