//! Who reads the bytes of `--deep`: this process, or a cluster.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use planner::Result;
use worker::prove::{Read, Sought, read};
use worker::{Registry, RequestClass, Store};

use super::report::VerifyReport;
use super::{Difference, VerifyRequest, take};
use crate::destination::Destination;

/// Reads objects, and tells the report.
pub(super) enum Reader {
    /// So many at a time, here.
    Here(Here),
    /// On a cluster.
    #[cfg(feature = "cluster")]
    There(Box<super::cluster::There>),
}

/// Reads here.
pub(super) struct Here {
    store: Arc<dyn Store>,
    reading: FuturesUnordered<BoxFuture<'static, (String, Read)>>,
    at_once: usize,
    keep_keys: bool,
}

impl Reader {
    /// As `request` says.
    ///
    /// # Errors
    /// The store's; the cluster's.
    pub(super) async fn of(registry: &Arc<Registry>, destination: &Destination, request: &VerifyRequest) -> Result<Self> {
        #[cfg(feature = "cluster")]
        if let Some(options) = &request.cluster {
            return Ok(Self::There(Box::new(super::cluster::There::connect(options, destination, request).await?)));
        }
        let store = registry.open(destination.location(), RequestClass::Data)?;
        let at_once = request.at_once();
        Ok(Self::Here(Here { store, reading: FuturesUnordered::new(), at_once, keep_keys: request.keep_keys }))
    }

    /// One object more. What it showed is told to the report sooner or later.
    ///
    /// # Errors
    /// The cluster's; too many differences.
    pub(super) async fn push(&mut self, sought: Sought, report: &mut VerifyReport) -> Result<()> {
        match self {
            Self::Here(here) => here.push(sought, report).await,
            #[cfg(feature = "cluster")]
            Self::There(there) => there.push(sought, report).await,
        }
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// As [`Reader::push`].
    pub(super) async fn finish(&mut self, report: &mut VerifyReport) -> Result<()> {
        match self {
            Self::Here(here) => here.finish(report).await,
            #[cfg(feature = "cluster")]
            Self::There(there) => there.finish(report).await,
        }
    }

    /// Removes what it left at the destination; also after an error.
    pub(super) async fn clean(&mut self) {
        #[cfg(feature = "cluster")]
        if let Self::There(there) = self {
            there.clean().await;
        }
    }
}

impl Here {
    async fn push(&mut self, sought: Sought, report: &mut VerifyReport) -> Result<()> {
        if self.reading.len() >= self.at_once
            && let Some(read) = self.reading.next().await
        {
            tell(report, read, self.keep_keys)?;
        }
        self.reading.push(Box::pin(read(Arc::clone(&self.store), sought)));
        Ok(())
    }

    async fn finish(&mut self, report: &mut VerifyReport) -> Result<()> {
        while let Some(read) = self.reading.next().await {
            tell(report, read, self.keep_keys)?;
        }
        Ok(())
    }
}

fn tell(report: &mut VerifyReport, (key, read): (String, Read), keep_keys: bool) -> Result<()> {
    match read {
        Read::Proved(bytes) => report.bytes += bytes,
        Read::Unproved(bytes) => {
            report.bytes += bytes;
            report.unproved += 1;
        }
        Read::Different { wrong, expected, found } => {
            take(report, Difference { key, kind: wrong.into(), expected, found }, keep_keys)?;
        }
    }
    Ok(())
}
