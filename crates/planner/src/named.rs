//! How many keys something is true of, and the first of them by name: what a person is told where a list would be too long.

/// Keys that a note names.
const NAMED: usize = 5;

/// Keys of which a person should know: how many, and the first of them.
#[derive(Debug, Default)]
pub struct Named {
    count: u64,
    first: Vec<String>,
}

impl Named {
    /// One more.
    pub fn add(&mut self, key: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(key);
        }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `key, key, …`.
    #[must_use]
    pub fn keys(&self) -> String {
        let more = if self.count > self.first.len() as u64 { ", …" } else { "" };
        format!("{}{more}", self.first.join(", "))
    }

    /// `N what: key, key, …`; nothing where there are none.
    #[must_use]
    pub fn note(&self, what: &str) -> Option<String> {
        (self.count > 0).then(|| format!("{} {what}: {}", self.count, self.keys()))
    }
}

impl FromIterator<String> for Named {
    fn from_iter<T: IntoIterator<Item = String>>(keys: T) -> Self {
        let mut named = Self::default();
        keys.into_iter().for_each(|key| named.add(key));
        named
    }
}
