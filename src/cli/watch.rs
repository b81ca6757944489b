//! What becomes of one resource, as the API server tells it. Trouble on the way comes and goes, and is told as well.

use futures::{Stream, StreamExt as _, future};
use kube::runtime::utils::StreamBackoff;
use kube::runtime::watcher::{self, Event, watcher};

use super::cluster::{Place, is_refusal, told};
use super::failure::Failure;
use crate::api::v1alpha1::PersistentChatFailover;
use crate::domain::text::clean_whole;

/// Seconds after which a watch is begun anew. A connection that died without a word is noticed a little later.
const ANEW: u32 = 45;

/// What was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The resource, new or changed.
    Object(Box<PersistentChatFailover>),
    /// There is no such resource any more.
    Gone,
    /// The API server could not be asked. It is asked again, with growing pauses.
    Trouble(String),
}

/// Everything that becomes of a resource from now on. It ends with a refusal only.
pub fn watch(place: &Place) -> impl Stream<Item = Result<Seen, Failure>> + Send + use<> {
    let mut is_there = false;
    let config = watcher::Config::default().fields(&format!("metadata.name={}", place.name)).timeout(ANEW);
    let events = StreamBackoff::new(watcher(place.api(), config), watcher::DefaultBackoff::default());
    events.filter_map(move |event| {
        let seen = match event {
            Ok(Event::Init) => {
                is_there = false;
                None
            }
            Ok(Event::InitApply(r) | Event::Apply(r)) => {
                is_there = true;
                Some(Ok(Seen::Object(Box::new(r))))
            }
            Ok(Event::InitDone) if is_there => None,
            Ok(Event::InitDone | Event::Delete(_)) => Some(Ok(Seen::Gone)),
            Err(e) => trouble(&e),
        };
        future::ready(seen)
    })
}

fn trouble(e: &watcher::Error) -> Option<Result<Seen, Failure>> {
    match e {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) if is_refusal(e) => {
            Some(Err(Failure::Refused(told(e))))
        }
        watcher::Error::InitialListFailed(e)
        | watcher::Error::WatchStartFailed(e)
        | watcher::Error::WatchFailed(e) => Some(Ok(Seen::Trouble(told(e)))),
        // What was watched from is not kept any more: it is listed anew, and nothing is wrong.
        watcher::Error::WatchError(status) if status.code == 410 => None,
        watcher::Error::WatchError(status) => Some(Ok(Seen::Trouble(clean_whole(&status.message)))),
        watcher::Error::NoResourceVersion => Some(Ok(Seen::Trouble(e.to_string()))),
    }
}
