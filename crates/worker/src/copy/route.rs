//! How an object's bytes go from its source to the destination: a decision from facts, without I/O.

use crate::store::{Access, Capabilities};

/// How the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The store copies by itself; no byte passes through here.
    ServerSide,
    /// Read here and written whole.
    StreamSingle,
    /// Read here and written in parts.
    StreamMultipart,
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The source's server and credentials.
    pub source: &'a Access,
    /// The destination's server and credentials.
    pub destination: &'a Access,
    /// What the destination can do.
    pub can: Capabilities,
    /// The object's size in bytes.
    pub size: u64,
    /// From which size on objects go up in parts, in bytes.
    pub multipart_threshold: u64,
}

impl Facts<'_> {
    /// One server: it copies. With other credentials as well, because only the server knows whether those of the
    /// destination may read the source; [`Facts::streams_after_refusal`] is the way back.
    #[must_use]
    pub fn route(&self) -> Route {
        if self.can.server_copy && self.source.endpoint == self.destination.endpoint {
            return Route::ServerSide;
        }
        self.streamed()
    }

    /// How the bytes go when they pass through here.
    #[must_use]
    pub fn streamed(&self) -> Route {
        if self.size >= self.multipart_threshold { Route::StreamMultipart } else { Route::StreamSingle }
    }

    /// A server-side copy that was refused, or did not find the source, is worth one streamed attempt: the source has
    /// credentials of its own.
    #[must_use]
    pub fn streams_after_refusal(&self) -> bool {
        self.source.credentials != self.destination.credentials
    }
}

impl Route {
    /// The memory that an upload on this route holds at most, in bytes.
    #[must_use]
    pub fn buffer_bytes(self, facts: &Facts<'_>, part_size: u64, parts_in_flight: usize) -> u64 {
        match self {
            _ if !facts.can.buffers_uploads => 0,
            Self::ServerSide => 0,
            Self::StreamSingle => facts.size,
            // One more part is being read while the others are sent.
            Self::StreamMultipart => {
                part_size.max(facts.size.div_ceil(10_000)).saturating_mul(parts_in_flight as u64 + 1).min(facts.size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn at(endpoint: &str, credentials: &str) -> Access {
        Access { endpoint: endpoint.to_owned(), credentials: credentials.to_owned() }
    }

    #[test]
    fn routes() {
        let s3 = Capabilities { server_copy: true, buffers_uploads: true, ..Default::default() };
        let memory = Capabilities { buffers_uploads: true, ..Default::default() };
        let file = Capabilities { server_copy: true, ..Default::default() };
        let (aws, other, disk) = (at("s3|aws", "chain"), at("s3|other:443", "chain"), at("file", "user"));
        let mirror = at("s3|aws", "profile mirror");
        #[rustfmt::skip]
        let table = [
            (&aws,   &aws,    s3,     MIB,       Route::ServerSide,      false, 0),
            (&aws,   &aws,    s3,     900 * MIB, Route::ServerSide,      false, 0),
            (&aws,   &mirror, s3,     MIB,       Route::ServerSide,      true,  0),
            (&aws,   &other,  s3,     MIB,       Route::StreamSingle,    false, MIB),
            (&aws,   &other,  s3,     64 * MIB,  Route::StreamMultipart, false, 64 * MIB),
            (&aws,   &other,  s3,     900 * MIB, Route::StreamMultipart, false, 80 * MIB),
            (&aws,   &disk,   file,   900 * MIB, Route::StreamMultipart, true,  0),
            (&disk,  &disk,   file,   MIB,       Route::ServerSide,      false, 0),
            (&disk,  &aws,    s3,     0,         Route::StreamSingle,    true,  0),
            (&at("memory|a", "chain"), &at("memory|a", "chain"), memory, 5, Route::StreamSingle, false, 5),
        ];
        for (source, destination, can, size, route, after_refusal, bytes) in table {
            let facts = Facts { source, destination, can, size, multipart_threshold: 64 * MIB };
            assert_eq!(facts.route(), route, "{facts:?}");
            assert_eq!(facts.streams_after_refusal(), after_refusal, "{facts:?}");
            assert_eq!(route.buffer_bytes(&facts, 16 * MIB, 4), bytes, "{facts:?}");
        }
    }
}
