//! The time that one request may take as a whole. A limit on the wait for the next
//! byte is none: a server that sends a byte now and then would hold us for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tower::{BoxError, Layer, Service};

/// How long a request may take unless `--request-timeout` says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Gives every request the same limit.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    /// None where there is none.
    pub(crate) limit: Option<Duration>,
    /// Whether the user has set it: then the server is told, as by client-go, and need
    /// not go on for longer.
    pub(crate) is_told: bool,
}

/// A connection whose requests have a limit.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    deadline: Deadline,
    inner: S,
}

/// A body that has to end in time.
pub(crate) struct LimitedBody<B> {
    inner: Pin<Box<B>>,
    end: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl<S> Layer<S> for Deadline {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            deadline: *self,
            inner,
        }
    }
}

impl<S, A, B> Service<Request<A>> for Limited<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<LimitedBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        // A watch is to last; it ends when the server says so.
        let watches = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch="));
        let Deadline { limit, is_told } = self.deadline;
        let limit = limit.filter(|_| !watches);
        let told = limit.filter(|_| is_told);
        if let Some(uri) = told.and_then(|limit| with_timeout(request.uri(), limit)) {
            *request.uri_mut() = uri;
        }
        let end = limit.map(|limit| (Box::pin(tokio::time::sleep(limit)), limit));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Some((mut sleep, limit)) = end else {
                let answer = answer.await.map_err(Into::into)?;
                return Ok(answer.map(|body| LimitedBody::new(body, None)));
            };
            tokio::select! {
                answer = answer => {
                    let answer = answer.map_err(Into::into)?;
                    Ok(answer.map(|body| LimitedBody::new(body, Some((sleep, limit)))))
                }
                () = &mut sleep => Err(too_late(limit).into()),
            }
        })
    }
}

impl<B> LimitedBody<B> {
    fn new(inner: B, end: Option<(Pin<Box<Sleep>>, Duration)>) -> Self {
        Self {
            inner: Box::pin(inner),
            end,
        }
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        if let Some((sleep, limit)) = &mut self.end
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(too_late(*limit).into())));
        }
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn with_timeout(uri: &Uri, limit: Duration) -> Option<Uri> {
    let path = uri.path_and_query()?.as_str();
    let separator = if path.contains('?') { '&' } else { '?' };
    let seconds = limit.as_secs_f64();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{separator}timeout={seconds}s").parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn too_late(limit: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no whole answer within {limit:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_of_the_limit() {
        #[track_caller]
        fn check(uri: &str, limit: Duration, want: &str) {
            let uri = uri.parse().expect("is a URI");
            assert_eq!(with_timeout(&uri, limit).expect("has a path").to_string(), want);
        }
        check("https://a/b", Duration::from_secs(7), "https://a/b?timeout=7s");
        check("/b?c=d", Duration::from_millis(1500), "/b?c=d&timeout=1.5s");
    }
}
