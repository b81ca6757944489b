//! `status --watch`: the picture, whenever something has changed.

use std::io::{self, IsTerminal as _, Stdout, Write as _, stdout};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cluster::Place;
use super::failure::Failure;
use super::output::{Format, harmless};
use super::screen::Screen;
use super::status::picture;
use super::watch::{Seen, watch};
use crate::api::v1alpha1::PersistentChatFailover;

/// Where it is shown.
enum Shown {
    /// A terminal, drawn anew in place.
    Screen(Screen<Stdout>),
    /// A file or a pipe: one after the other.
    After { format: Option<Format>, is_first: bool },
}

/// What is known.
struct Known {
    object: Box<PersistentChatFailover>,
    /// Since when the API server could not be asked, and why.
    trouble: Option<(Timestamp, String)>,
}

/// Shows a resource until somebody ends it.
pub async fn follow(place: &Place, format: Option<Format>) -> Result<(), Failure> {
    let told = |e: io::Error| Failure::Unable(format!("cannot show it: {e}"));
    let mut known = Known { object: Box::new(place.get().await?), trouble: None };
    // Before the screen is taken: a signal must not end us while it is ours.
    let mut signals = Signals::listen().map_err(told)?;
    let mut shown = match format.is_none() && stdout().is_terminal() {
        true => Shown::Screen(Screen::enter(stdout()).map_err(told)?),
        false => Shown::After { format, is_first: true },
    };
    let gone = loop_until_ended(place, &mut known, &mut shown, &mut signals).await;
    if let Shown::Screen(screen) = shown {
        drop(screen);
        // What was seen last stays to be read.
        let _ = stdout().write_all(known.picture().as_bytes());
    }
    gone
}

/// By what somebody ends it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

async fn loop_until_ended(
    place: &Place,
    known: &mut Known,
    shown: &mut Shown,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut seen = Box::pin(watch(place));
    // Times go on, and the terminal may have another size by now.
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            what = seen.next() => match what.unwrap_or(Ok(Seen::Gone))? {
                Seen::Object(r) => {
                    known.trouble = None;
                    known.object = r;
                    if shown.changed(known).is_err() {
                        return Ok(());
                    }
                }
                Seen::Gone => return Err(Failure::Refused(format!("{place} was deleted"))),
                Seen::Trouble(why) => {
                    let is_new = known.trouble.is_none();
                    known.trouble.get_or_insert_with(|| (Timestamp::now(), String::new())).1 = why;
                    shown.trouble(known, is_new);
                }
            },
            // Whoever reads it has gone: there is nobody to show it to.
            _ = second.tick() => if shown.later(known).is_err() {
                return Ok(());
            },
            () = signals.next() => return Ok(()),
        }
    }
}

impl Known {
    fn picture(&self) -> String {
        let mut text = picture(&self.object, Timestamp::now());
        if let Some((since, why)) = &self.trouble {
            text.push_str(&format!(
                "\nThe API server cannot be asked since {since:.0}, and this may be old: {why}\n"
            ));
        }
        harmless(&text)
    }
}

impl Shown {
    fn changed(&mut self, known: &Known) -> io::Result<()> {
        let (format, is_first) = match self {
            Shown::Screen(screen) => return screen.show(&known.picture()),
            Shown::After { format, is_first } => (*format, std::mem::replace(is_first, false)),
        };
        let text = match format {
            Some(format) => {
                let text = format.write(&known.object.status).map_err(io::Error::other)?;
                let border = if is_first { "" } else { format.border() };
                format!("{border}{text}")
            }
            None => format!("{}{}", if is_first { "" } else { "\n" }, known.picture()),
        };
        stdout().write_all(text.as_bytes())?;
        stdout().flush()
    }

    /// Nothing has changed but the time.
    fn later(&mut self, known: &Known) -> io::Result<()> {
        match self {
            Shown::Screen(screen) => screen.show(&known.picture()),
            Shown::After { .. } => Ok(()),
        }
    }

    fn trouble(&self, known: &Known, is_new: bool) {
        match (self, &known.trouble) {
            (Shown::After { .. }, Some((_, why))) if is_new => {
                let _ = writeln!(io::stderr(), "kubectl pcf: the API server cannot be asked: {why}");
            }
            // A screen shows it beside what it is about.
            (Shown::After { .. } | Shown::Screen(_), _) => {}
        }
    }
}
