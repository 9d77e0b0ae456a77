//! The way between a client and the proxy: as long as it is told to be.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// Carries bytes both ways, each for half a round trip, until one side ends or the
/// connection is to be reset.
pub(super) async fn link(
    mut tcp: TcpStream,
    inner: DuplexStream,
    delay: Duration,
    broken: oneshot::Receiver<()>,
) {
    let _ = tcp.set_nodelay(true);
    let (from_tcp, to_tcp) = tcp.split();
    let (from_inner, to_inner) = tokio::io::split(inner);
    tokio::select! {
        biased;
        Ok(()) = broken => {
            let _ = tcp.set_zero_linger();
        }
        _ = carry(from_inner, to_tcp, delay) => {}
        _ = carry(from_tcp, to_inner, delay) => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> io::Result<()> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
    let read = async move {
        loop {
            let mut bytes = vec![0; 16 * 1024];
            let count = from.read(&mut bytes).await?;
            bytes.truncate(count);
            if count == 0 || sender.send((Instant::now() + delay, bytes)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}
