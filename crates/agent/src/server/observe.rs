//! Streams of flows: what is kept, then what comes.

use crate::flows::history::History;
use crate::flows::record::{Body, Conversion, Record};
use api::filter::FlowFilters;
use api::v1;
use api::v1::lost_events::Cause;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Flows that wait for a slow client before it begins to lose some.
const BACKLOG: usize = 256;

pub type Flows = Pin<Box<dyn Stream<Item = Result<v1::Flow, Status>> + Send>>;

pub fn observe(
    request: v1::ObserveRequest,
    history: Arc<History>,
    conversion: Conversion,
) -> Result<Flows, Status> {
    let filters = FlowFilters::parse(&request)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let time = |stamp: Option<prost_types::Timestamp>| match stamp {
        Some(stamp) => SystemTime::try_from(stamp)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("time: {error}"))),
        None => Ok(None),
    };
    let (since, until) = (time(request.since)?, time(request.until)?);
    let in_time = move |record: &Record| {
        since.is_none_or(|since| record.time >= since)
            && until.is_none_or(|until| record.time < until)
    };

    let (kept, mut live) = history.follow();
    let wanted = match (request.last, since, request.follow) {
        (Some(last), ..) => usize::try_from(last).unwrap_or(usize::MAX),
        (None, None, true) => 0,
        (None, ..) => usize::MAX,
    };
    let mut past: Vec<v1::Flow> = kept
        .iter()
        .rev()
        .filter(|record| in_time(record))
        .map(|record| conversion.message(record))
        .filter(|flow| filters.matches(flow))
        .take(wanted)
        .collect();
    past.reverse();

    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        for flow in past {
            if sender.send(Ok(flow)).await.is_err() {
                return;
            }
        }
        if !request.follow {
            return;
        }
        loop {
            let record = tokio::select! {
                record = live.recv() => record,
                () = sender.closed() => return,
            };
            let record = match record {
                Ok(record) => record,
                Err(RecvError::Lagged(count)) => Arc::new(Record {
                    sequence: 0,
                    time: SystemTime::now(),
                    body: Body::Lost { count, cpu: None, cause: Cause::Reader },
                }),
                Err(RecvError::Closed) => return,
            };
            if until.is_some_and(|until| record.time >= until) {
                return;
            }
            let flow = conversion.message(&record);
            if in_time(&record) && filters.matches(&flow) && sender.send(Ok(flow)).await.is_err() {
                return;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}
