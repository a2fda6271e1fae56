//! The layer around `s3s`: follows a request from its head to its answer, and spoils the answer where a fault says so.
//!
//! A request is processed in a task of its own, so that it is carried out even if its client goes away meanwhile, as in a
//! real store.

use std::{sync::Arc, time::Instant};

use axum::body::Body;
use chrono::{NaiveDateTime, TimeDelta, Utc};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONTENT_TYPE, DATE, HeaderMap},
};
use s3s::service::S3Service;

use super::{
    call::Call,
    fault::{Fate, Fault},
    state::Shared,
};
use crate::background::{Answer, DropConnection, Handler};

/// The handler of a server's requests.
pub(crate) fn handler(shared: Arc<Shared>, service: S3Service) -> Handler {
    Arc::new(move |request| {
        let call = Arc::new(Call::new(request.headers()));
        let task = tokio::spawn(process(Arc::clone(&shared), service.clone(), request, Arc::clone(&call)));
        Box::pin(async move {
            tokio::select! {
                () = call.is_cut() => Err(DropConnection),
                answer = task => answer.unwrap_or(Err(DropConnection)),
            }
        })
    })
}

async fn process(shared: Arc<Shared>, service: S3Service, request: Request<Incoming>, call: Arc<Call>) -> Answer {
    let mut request = request.map(s3s::Body::from);
    request.extensions_mut().insert(Arc::clone(&call));
    let ahead = shared.lock().settings.ahead;
    let refused = too_skewed(request.headers(), ahead);
    if let Some(response) = refused {
        call.note(|op| op.status = response.status().as_u16());
        shared.lock().finish(&call);
        return Ok(response.map(Body::new));
    }
    let answer = match service.call(request).await {
        Ok(response) => spoil(&call, response),
        Err(_) => Some(Err(DropConnection)),
    };
    call.note(|op| op.ended = Some(Instant::now()));
    shared.lock().finish(&call);
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

/// The answer as the fault of the request leaves it; none for silence.
fn spoil(call: &Call, response: Response<s3s::Body>) -> Option<Answer> {
    let response = match call.fault() {
        Some(Fault::Reset { .. } | Fault::Signal { fate: Fate::Lost, .. }) => return Some(Err(DropConnection)),
        Some(Fault::Stall { .. }) => return None,
        Some(Fault::Error { status, code, .. }) => error(*status, code),
        Some(Fault::Empty { .. }) => Response::new(s3s::Body::empty()),
        _ => response,
    };
    let sent = response.body().size_hint().exact();
    call.note(|op| {
        op.status = response.status().as_u16();
        op.code = response.body().bytes().and_then(|body| error_code(&body));
        if let Some(sent) = sent {
            op.sent = sent;
        }
    });
    Some(Ok(response.map(Body::new)))
}

fn error(status: u16, code: &str) -> Response<s3s::Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>a scripted fault</Message></Error>"
    );
    let mut response = Response::new(s3s::Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(CONTENT_TYPE, "application/xml".parse().unwrap());
    response
}

/// The refusal of a signature that is more than a quarter of an hour off the server's clock.
fn too_skewed(headers: &HeaderMap, ahead: i64) -> Option<Response<s3s::Body>> {
    let signed = NaiveDateTime::parse_from_str(headers.get("x-amz-date")?.to_str().ok()?, "%Y%m%dT%H%M%SZ").ok()?.and_utc();
    let now = Utc::now() + TimeDelta::seconds(ahead);
    if (now - signed).abs() <= TimeDelta::minutes(15) {
        return None;
    }
    let mut response = error(403, "RequestTimeTooSkewed");
    response.headers_mut().insert(DATE, now.format("%a, %d %b %Y %H:%M:%S GMT").to_string().parse().unwrap());
    Some(response)
}

fn error_code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(&body[..body.len().min(400)]).ok()?;
    let rest = text.split_once("<Error>")?.1.split_once("<Code>")?.1;
    Some(rest.split_once("</Code>")?.0.to_owned())
}
