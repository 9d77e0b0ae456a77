//! The time that one request may take as a whole. A limit on the wait for the next
//! byte is none: a server that sends a byte now and then would hold us for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tower::{BoxError, Layer, Service};

/// How long a request may take unless `--request-timeout` says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Gives every request the same limit, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(pub(crate) Option<Duration>);

/// A connection whose requests have a limit.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    limit: Option<Duration>,
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
        Limited { limit: self.0, inner }
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

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // A watch is to last; it ends when the server says so.
        let watches = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch="));
        let limit = self.limit.filter(|_| !watches);
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

fn too_late(limit: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no whole answer within {limit:?}"),
    )
}
