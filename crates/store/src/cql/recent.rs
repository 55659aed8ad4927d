//! What was written lately, so that the same needn't be written again. It forgets; what it has forgotten
//! is written once more, which changes nothing.

use std::collections::HashMap;

/// How many entries are remembered at least. At some 100 bytes each, twice as many are 6 MiB.
const AT_LEAST: usize = 32 * 1024;

/// A map that forgets its oldest half when it is full.
#[derive(Debug, Default)]
pub(super) struct Recent {
    young: HashMap<String, i64>,
    old: HashMap<String, i64>,
}

/// A key for two texts that no two others have.
pub(super) fn key(tenant: &str, rest: &str) -> String {
    format!("{}:{tenant}{rest}", tenant.len())
}

impl Recent {
    /// The value of `key`, if it is remembered.
    pub(super) fn get(&self, key: &str) -> Option<i64> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Remembers it.
    pub(super) fn put(&mut self, key: String, value: i64) {
        if self.young.len() >= AT_LEAST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_are_remembered_and_memory_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..5 * AT_LEAST {
            recent.put(number.to_string(), 1);
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * AT_LEAST);
        assert_eq!(recent.get(&(4 * AT_LEAST).to_string()), Some(1));
        assert_eq!(recent.get("0"), None);
        recent.put("x".into(), 1);
        recent.put("x".into(), 2);
        assert_eq!(recent.get("x"), Some(2));
        assert_ne!(key("a", "bc"), key("ab", "c"));
    }
}
