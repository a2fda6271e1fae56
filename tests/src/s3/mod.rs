//! An S3 server over a map, for tests: every conditional is race-safe, every effect is logged in its true order, and
//! requests fail as a script says.
//!
//! ```no_run
//! use millrace_tests::s3::{Fault, Rule, S3Server, Target};
//!
//! let server = S3Server::start();
//! server.create_bucket("dest");
//! // The acknowledgement of the second copy below `data/` is lost.
//! let lost = server.fault(Rule::new(Target::on("CopyObject").prefix("data/"), Fault::Reset { applied: true }).nth(2));
//! // … run something against `server.env()` …
//! assert_eq!(server.hits(lost), 1);
//! assert!(server.log().writes().for_prefix("dest", "other/").is_empty());
//! ```

mod access;
mod body;
mod call;
mod checksum;
mod condition;
mod copy;
mod fault;
mod gate;
mod list;
mod log;
mod multipart;
mod object;
mod objects;
mod service;
mod state;

use std::{fmt, sync::Arc, time::Duration};

use s3s::{
    config::{S3Config, StaticConfigProvider},
    service::S3ServiceBuilder,
};

use self::{access::Denial, state::Shared};
pub use self::{
    access::{KeyPair, Permission},
    body::Body,
    condition::{Conditions, DeleteConditions},
    fault::{Fate, Fault, Rule, Target, Victim},
    log::{Log, Op, is_write},
    object::{Bucket, Buckets, Object},
};
use crate::background::Background;

/// The access key that may do everything.
pub const ACCESS_KEY: &str = "millrace-test";

/// Its secret.
pub const SECRET_KEY: &str = "millrace-test-secret";

/// A running server. Dropping it stops it.
pub struct S3Server {
    shared: Arc<Shared>,
    background: Background,
}

impl fmt::Debug for S3Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Server").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

/// Names a rule, to ask how often it was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(usize);

impl S3Server {
    /// On a free port, without buckets, with the one key pair [`ACCESS_KEY`].
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// On that port.
    pub fn start_on(port: u16) -> Self {
        let shared = Arc::new(Shared::new());
        let mut builder = S3ServiceBuilder::new(service::Store(Arc::clone(&shared)));
        // The gate looks at the clock, which tests set.
        let mut skew = S3Config::default();
        skew.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(skew))));
        builder.set_auth(access::Guard(Arc::clone(&shared)));
        builder.set_access(access::Guard(Arc::clone(&shared)));
        let background = Background::start(port, gate::handler(Arc::clone(&shared), builder.build()));
        let server = Self { shared, background };
        server.add_key(KeyPair::new(ACCESS_KEY, SECRET_KEY));
        server
    }

    /// On a free port, with these buckets.
    pub fn with_buckets(names: &[&str]) -> Self {
        let server = Self::start();
        for name in names {
            server.create_bucket(name);
        }
        server
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.background.endpoint()
    }

    /// What a process needs in its environment to use this server with [`ACCESS_KEY`].
    pub fn env(&self) -> Vec<(String, String)> {
        self.env_as(ACCESS_KEY)
    }

    /// What a process needs in its environment to use this server with another access key.
    pub fn env_as(&self, access_key: &str) -> Vec<(String, String)> {
        let secret = self.shared.lock().keys.get(access_key).map(|pair| pair.secret_key.clone()).unwrap();
        let pairs = [
            ("AWS_ACCESS_KEY_ID", access_key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Access.
impl S3Server {
    /// Adds a key pair, or changes what one may do.
    pub fn add_key(&self, pair: KeyPair) {
        self.shared.lock().keys.insert(pair.access_key.clone(), pair);
    }

    /// From now on its signatures are refused.
    pub fn remove_key(&self, access_key: &str) {
        self.shared.lock().keys.remove(access_key);
    }

    /// Denies requests (403), whoever makes them.
    pub fn deny(&self, target: Target) {
        self.shared.lock().denials.push(Denial { access_key: None, target });
    }

    /// Denies requests of one access key.
    pub fn deny_to(&self, access_key: &str, target: Target) {
        self.shared.lock().denials.push(Denial { access_key: Some(access_key.to_owned()), target });
    }

    /// Takes all denials back.
    pub fn clear_denials(&self) {
        self.shared.lock().denials.clear();
    }

    /// Lets unsigned requests read a bucket.
    pub fn make_public(&self, bucket: &str) {
        self.shared.lock().settings.public.insert(bucket.to_owned());
    }
}

/// Behaviour.
impl S3Server {
    /// Adds a rule; of several that are met the first one counts.
    pub fn fault(&self, rule: Rule) -> RuleId {
        let mut state = self.shared.lock();
        state.rules.push(rule);
        RuleId(state.rules.len() - 1)
    }

    /// How many requests met a rule.
    pub fn hits(&self, rule: RuleId) -> u64 {
        self.shared.lock().rules.get(rule.0).map_or(0, Rule::hits)
    }

    /// Takes all rules back; their ids mean nothing from then on.
    pub fn clear_faults(&self) {
        self.shared.lock().rules.clear();
    }

    /// Every request takes at least that long.
    pub fn latency(&self, latency: Duration) {
        self.shared.lock().settings.latency = latency;
    }

    /// Encrypts what is written into a bucket from now on with a key of KMS.
    pub fn encrypt(&self, bucket: &str) {
        self.shared.lock().settings.encrypted.insert(bucket.to_owned());
    }

    /// From now on its clock is so many seconds ahead of this machine's: signatures that are a quarter of an hour off are refused.
    pub fn set_clock(&self, ahead: i64) {
        self.shared.lock().settings.ahead = ahead;
    }

    /// What becomes of conditions on uploads from now on.
    pub fn conditions(&self, conditions: Conditions) {
        self.shared.lock().settings.conditions = conditions;
    }

    /// The smallest part of a multipart upload, but for the last one; 5 MiB when nothing is said.
    pub fn smallest_part(&self, bytes: u64) {
        self.shared.lock().settings.smallest_part = bytes;
    }

    /// What becomes of deletes that insist on an etag.
    pub fn delete_conditions(&self, what: DeleteConditions) {
        self.shared.lock().settings.delete_conditions = what;
    }

    /// While down, connections are closed without an answer.
    pub fn set_down(&self, down: bool) {
        self.background.set_down(down);
    }
}

/// Log and watches.
impl S3Server {
    /// Every request since the log was cleared, in the order of effects. A request under way is in it once it was
    /// evaluated.
    pub fn log(&self) -> Log {
        self.shared.lock().log()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.shared.lock().clear_log();
    }

    /// Keeps a log, or not: benchmarks of millions of requests don't want it.
    pub fn keep_log(&self, keep: bool) {
        self.shared.lock().settings.keep_log = keep;
    }

    /// Calls `look` after every applied write, under the lock, with the whole store as it is then. What it returns as
    /// an error, and what it panics with, is kept for [`Self::violations`].
    pub fn watch(&self, look: impl Fn(&Op, &Buckets) -> Result<(), String> + Send + Sync + 'static) {
        self.shared.lock().watchers.push(Arc::new(look));
    }

    /// What the watches found.
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().violations.clone()
    }

    /// Fails the test if a watch found something.
    #[track_caller]
    pub fn assert_no_violations(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
    }
}

/// Direct access, without HTTP, log or watches.
impl S3Server {
    /// Makes a bucket, if it is not there.
    pub fn create_bucket(&self, name: &str) {
        self.shared.lock().buckets.0.entry(name.to_owned()).or_default();
    }

    /// Removes a bucket with all that it holds.
    pub fn remove_bucket(&self, name: &str) {
        self.shared.lock().buckets.0.remove(name);
    }

    /// Puts an object, and its bucket; its etag.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        body: impl Into<Body>,
        content_type: Option<&str>,
        metadata: &[(&str, &str)],
    ) -> String {
        let mut object = Object::new(body);
        object.content_type = content_type.map(str::to_owned);
        object.metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let etag = object.etag.clone();
        self.put_object(bucket, key, object);
        etag
    }

    /// Puts an object as it is, with its stated etag, and its bucket.
    pub fn put_object(&self, bucket: &str, key: &str, object: Object) {
        let mut state = self.shared.lock();
        state.buckets.0.entry(bucket.to_owned()).or_default().insert(key.to_owned(), Arc::new(object));
    }

    /// An object.
    pub fn get(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.shared.lock().buckets.get(bucket, key).cloned()
    }

    /// The keys of a bucket that start with a prefix, in byte order.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        self.shared.lock().buckets.keys(bucket, prefix).map(str::to_owned).collect()
    }

    /// Deletes an object.
    pub fn delete(&self, bucket: &str, key: &str) {
        self.shared.lock().remove(bucket, key);
    }

    /// The whole store as it is now.
    pub fn snapshot(&self) -> Buckets {
        self.shared.lock().buckets.clone()
    }

    /// Puts the whole store back to what it was.
    pub fn restore(&self, buckets: Buckets) {
        self.shared.lock().buckets = buckets;
    }

    /// The multipart uploads under way, as bucket, key and id.
    pub fn open_uploads(&self) -> Vec<(String, String, String)> {
        let state = self.shared.lock();
        let uploads = state.uploads.iter();
        uploads.map(|(id, upload)| (upload.bucket.clone(), upload.key.clone(), id.clone())).collect()
    }
}
