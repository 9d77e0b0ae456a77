//! Reads what exposes the relay server: its Service, Istio's ingress gateways and
//! Gateway API's.

use std::time::{Duration, Instant};

use crate::{
    candidate::{self, Source},
    cluster::Cluster,
    error::Result,
    gateways,
    observation::{Lookup, Observation, Via},
    services::Relay,
    terminal,
    watch::{Reading, Watches},
};

/// How long to wait before a server that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks in one source after the other until one has an address, or in all of them.
///
/// # Errors
/// If the cluster cannot be reached. What may not be read leaves its source out, which is
/// noted.
pub async fn observe(cluster: &Cluster, lookup: &Lookup) -> Result<Observation> {
    observe_and_remember(&Reading::new(cluster), lookup).await
}

/// Looks again after every change of what was looked at, until there is an address or
/// the time is up, and then once more; what was found last is the result either way.
/// Meanwhile the story is why there is none. What may be read and not watched is looked
/// at again from time to time, and where nothing may be read there is nothing to wait for.
///
/// # Errors
/// As [`observe`] the first and the last time.
pub async fn wait(cluster: &Cluster, lookup: &Lookup, limit: Duration) -> Result<Observation> {
    let deadline = tokio::time::Instant::from_std(Instant::now() + limit);
    let mut watches = Watches::default();
    let progress = terminal::Progress::spinner("waiting for an address");
    let mut told = String::new();
    loop {
        let reading = Reading::new(cluster);
        let observation = match observe_and_remember(&reading, lookup).await {
            // The first look says what is wrong for good. Later a server may be restarted.
            Err(error) if !told.is_empty() && !error.is_forbidden() => {
                let message = error.message();
                terminal::story(&format!("looking again in 1 s: {message}"));
                let again = tokio::time::Instant::now() + AGAIN;
                tokio::time::sleep_until(again.min(deadline)).await;
                match again < deadline {
                    true => continue,
                    false => return Err(error),
                }
            }
            read => read?,
        };
        let Err(error) = observation.address(cluster.context()) else {
            return Ok(observation);
        };
        if told.is_empty() && observation.is_refused() {
            return Ok(observation);
        }
        let reason = waiting_for(&observation).unwrap_or_else(|| error.message().to_owned());
        if reason != told {
            progress.says(format!("waiting: {reason}"));
            told = reason;
        }
        let change = async {
            watches.add(reading).await;
            watches.changed().await;
        };
        // A watch that broke silently may have missed something.
        if tokio::time::timeout_at(deadline, change).await.is_err() {
            return observe(cluster, lookup).await;
        }
    }
}

/// The reason to wait: of the first source whose address is to come, or else of the first
/// that has none. The object comes last, as a spinner's line is cut where the terminal ends.
fn waiting_for(observation: &Observation) -> Option<String> {
    let candidates = observation.candidates.iter();
    let reasons = candidates.filter_map(|candidate| Some((candidate.result.as_ref().err()?, candidate)));
    let (reason, candidate) = reasons.min_by_key(|(reason, _)| !reason.is_pending)?;
    Some(format!("{} ({})", reason.state, candidate.object))
}

async fn observe_and_remember(reading: &Reading<'_>, lookup: &Lookup) -> Result<Observation> {
    let mut relay = Relay::find(reading, lookup).await?;
    let mut observation = Observation {
        host: lookup.host(&relay.host),
        candidates: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(refusal) = relay.refusal().filter(|_| lookup.via == Via::Istio) {
        let text = format!("the relay service cannot be read: {}", refusal.message());
        observation.note(Source::Istio, text, None);
    }
    for source in lookup.via.sources() {
        match source {
            Source::Service => relay.observe(reading, lookup, &mut observation).await?,
            Source::Istio => gateways::observe_istio(reading, lookup, &mut observation).await?,
            Source::GatewayApi => {
                gateways::observe_gateway_api(reading, lookup, &relay.host, &mut observation).await?;
            }
        }
        if !lookup.everywhere && candidate::choose(&observation.candidates).is_some() {
            break;
        }
    }
    Ok(observation)
}
