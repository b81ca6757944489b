//! The human on call: reacts to what has stood for a while, and does exactly what the message says.

use jiff::{SignedDuration, Timestamp};
use persistent_chat_failover::domain::consent::Consent;
use persistent_chat_failover::domain::problem::{Class, Problem, Reason};
use persistent_chat_failover::domain::side::Side;

use super::confusion;
use super::edits::{self, Change};
use super::{Act, act, hands};
use crate::sides;
use crate::world::Shared;

/// How long the human on call takes to react.
const REACTION: SignedDuration = SignedDuration::from_secs(5);
/// And how long it is then left alone before anything is tried again.
const AGAIN: SignedDuration = SignedDuration::from_secs(20);

/// The human on call of one operator.
#[derive(Clone, Debug, Default)]
pub struct Human {
    /// What stands in the way, and since when it is waited for.
    sees: Option<(Timestamp, String)>,
}

impl Human {
    /// Looks after an operator, and reacts to what has stood for a while. Whether something was mended.
    pub fn look_after(&mut self, s: &mut Shared, who: usize, dead: bool) -> bool {
        let now = s.time();
        // What the operator cannot write, nobody can read.
        let silent = s.clusters.get(who).is_none_or(|c| c.down.is_some() || c.object.is_none());
        let blocked = s.operators.get(who).filter(|_| !dead && !silent).and_then(|o| o.blocked.clone());
        let suspended = s.operators.get(who).is_some_and(|o| o.heard.suspended.is_some());
        let Some(problem) = blocked.filter(|p| p.class != Class::Retry && !suspended) else {
            self.sees = None;
            return false;
        };
        match &self.sees {
            Some((since, what)) if *what == problem.what => {
                if now.duration_since(*since) < REACTION {
                    return false;
                }
            }
            Some(_) | None => {
                self.sees = Some((now, problem.what.clone()));
                return false;
            }
        }
        // Whether it helped is seen after a while: an operator that waits for a human looks again once a minute.
        self.sees = Some((now + AGAIN, problem.what.clone()));
        let mended = confusion::clear_up(s, &problem)
            || mend_switch(s, who, &problem).is_some()
            || mend(s, who, &problem).is_some();
        if !mended {
            s.truth.broken(format!(
                "blocked without a fix that a human knows: {:?} {} / {}",
                problem.reason, problem.what, problem.fix
            ));
        }
        mended
    }
}

/// Writes the consent that a message asks for.
fn consent(s: &mut Shared, who: usize, transition: &str, situation: &str) {
    let consent =
        Consent { transition: transition.into(), situation: situation.into(), by: "on call".into() };
    edits::change(s, who, Change::Consent(consent));
}

/// Asks for a data centre.
fn want(s: &mut Shared, who: usize, side: Side) {
    edits::change(s, who, Change::Active(side));
}

/// The side that the resource of an operator asks for.
fn asks_for(s: &Shared, who: usize) -> Option<Side> {
    s.clusters.get(who).and_then(|c| c.object.as_ref()).map(|o| o.spec.active)
}

/// The side where chat is, or is to be by the pool's state.
fn where_chat_is(s: &Shared) -> Option<Side> {
    sides::active(&s.world).or(Side::of_pool_state(&s.world.chat.master.pool_state))
}

/// The word that follows a text in a message.
fn word_after(message: &str, text: &str) -> Option<String> {
    let (_, rest) = message.split_once(text)?;
    Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect())
}

/// What the human on call does where chat is to move while both sides live. `None`: as in any night.
fn mend_switch(s: &mut Shared, who: usize, problem: &Problem) -> Option<String> {
    let end = s.end();
    if !s.truth.switches {
        return None;
    }
    let done = match problem.reason {
        Reason::ActiveDataCenterDrifted if problem.what.contains("is under way") => {
            want(s, who, Side::of_pool_state(&s.world.chat.master.pool_state)?.other());
            "goes along with what is under way".into()
        }
        Reason::ActiveDataCenterDrifted => {
            want(s, who, sides::active(&s.world)?);
            "sets activeDataCenter to where chat is".into()
        }
        Reason::DatabaseState
            if problem.what.contains("does not say where roll forward of")
                || problem.fix.contains("set spec.activeDataCenter back to it") =>
        {
            want(s, who, Side::of_pool_state(&s.world.chat.master.pool_state)?);
            "waits for the side that holds all of it: no copy stands on the other one".into()
        }
        Reason::DatabaseState if problem.fix.contains("set spec.activeDataCenter to that side again") => {
            want(s, who, asks_for(s, who)?.other());
            "goes on where somebody has recovered it".into()
        }
        Reason::DatabaseState if problem.fix.contains("so that this is done") => {
            want(s, who, Side::of_pool_state(&s.world.chat.master.pool_state)?);
            "sets activeDataCenter back: what was begun is done first".into()
        }
        Reason::HostUnreachable if problem.fix.contains("set spec.activeDataCenter back") => {
            want(s, who, where_chat_is(s)?);
            "sets activeDataCenter back: a server is missing".into()
        }
        Reason::SourceAlive => {
            want(s, who, where_chat_is(s)?);
            "sets activeDataCenter back: it lives".into()
        }
        Reason::BackupDamaged | Reason::BackupRefused | Reason::LogChainGap => {
            hands::put_again(&mut s.world);
            "copies the log backups again from where they are sound".into()
        }
        Reason::ChatDoesNotEnd => {
            let servers = s.world.chat.servers.values();
            let sessions: Vec<_> = servers.filter_map(|c| c.session.clone()).collect();
            sessions.into_iter().for_each(|(host, id)| lab::sql::logout(&mut s.world, &host, id));
            "ends the processes of the chat services".into()
        }
        Reason::SplitBrain => ends_split_brain(s)?,
        // Where it stands on the live side, for no other place is known; and what there was no room for.
        Reason::EffectFailed if hands::lacks_a_place(&problem.what) => {
            hands::make_folders(&mut s.world).ok()?;
            act(s, &Act::DiskFull(false));
            delete_failed_job(s, problem)?;
            "makes the folders that the message names, and room, and deletes the job that failed".into()
        }
        Reason::EffectFailed if problem.fix.contains("its job ") => {
            delete_failed_job(s, problem)?;
            "finds nothing that is in its way any more, and deletes the job".into()
        }
        Reason::CentralManagementDown => {
            let name = sides::data_center(&s.world.scenario, end).name.clone();
            lab::chat::fail_over_central_management(&mut s.world, &name);
            "moves the Central Management store to where chat is to be".into()
        }
        _ => return None,
    };
    s.tell(&format!("the human on call of operator {who} {done}"));
    Some(done)
}

/// Of two databases that live the one is taken offline that chat does not use.
fn ends_split_brain(s: &mut Shared) -> Option<String> {
    let used = Side::of_pool_state(&s.world.chat.master.pool_state)?;
    // Whoever takes one offline asks first whether somebody is just going on with it.
    if s.operators.iter().any(|o| o.look.is_some() && o.next.starts_with("Act")) {
        return Some("leaves both as they are: something is at work".into());
    }
    if hands::takes_the_unused_offline(&mut s.world, used) {
        return Some("takes the one of two offline that chat does not use".into());
    }
    // Whoever takes one offline looks first whether there are two: a switch may have gone on since that was told.
    if sides::principal(&s.world, used).is_none() {
        return Some("finds one live database only, and takes nothing offline".into());
    }
    hands::take_offline(s, used.other());
    Some("takes the database offline that the pool does not use".into())
}

/// Deletes the job that a message names: then it is tried again at the next look.
fn delete_failed_job(s: &mut Shared, problem: &Problem) -> Option<()> {
    let job = problem.fix.split_once("its job ")?.1.split(' ').next()?;
    hands::delete_jobs(&mut s.world, job).ok()
}

/// Goes on with a database that is live. The message carries the values of the consent, or says what to ask for before.
fn adopt(s: &mut Shared, who: usize, problem: &Problem) -> Option<String> {
    let value = |name: &str| word_after(&problem.fix, name);
    match (value("transition: "), value("situation: "), value("set spec.activeDataCenter to ")) {
        (Some(transition), Some(situation), _) => {
            consent(s, who, &transition, &situation);
            Some(format!("adopts the database: {transition} {situation}"))
        }
        (None, _, Some(name)) | (_, None, Some(name)) => {
            want(s, who, sides::called(&s.world.scenario, &name)?);
            Some("goes on with the database that was recovered".into())
        }
        (None, _, None) | (_, None, None) => None,
    }
}

/// What the human on call does about a problem: exactly what its message says. `None`: the message names no fix that we know.
fn mend(s: &mut Shared, who: usize, problem: &Problem) -> Option<String> {
    let needed = s.operators.get(who).and_then(|o| o.consent_needed.clone());
    let end = s.end();
    let done = match problem.reason {
        Reason::ConsentRequired
        | Reason::ConsentDoesNotFit
        | Reason::SourceUnknown
        | Reason::SourceUnusable
            if needed.is_some() =>
        {
            let (transition, situation) = needed?;
            consent(s, who, &transition, &situation);
            format!("consents to {transition} {situation}")
        }
        Reason::RecoveredByOthers => adopt(s, who, problem)?,
        Reason::DatabaseState if problem.fix.contains("situation: ") => adopt(s, who, problem)?,
        Reason::SourceAlive if s.stays => {
            want(s, who, end);
            "sets activeDataCenter back: it was no disaster".into()
        }
        Reason::DatabaseState if problem.fix.contains("what was written since is there only") => {
            hands::finish_by_hand(s, sides::to_side(&s.world.scenario));
            "goes on by hand with the database that is live".into()
        }
        Reason::DatabaseState if problem.fix.contains("Build the mirror by hand") => {
            hands::build_mirror_by_hand(s, end);
            "builds the mirror by hand".into()
        }
        Reason::DatabaseState if problem.fix.contains("move it away") => {
            hands::clear_mirror(s, end);
            "moves away what stands where the mirror is to be".into()
        }
        Reason::DatabaseState if problem.fix.contains("Restore it anew") => {
            s.truth.called_for_a_full_restore(problem);
            match hands::restore_anew(s, sides::to_side(&s.world.scenario)) {
                Ok(()) => "restores the copy anew from a full backup".into(),
                Err(why) => format!("restores nothing: {why}"),
            }
        }
        Reason::FolderUnusable if problem.fix.contains("service account of SQL Server") => {
            "gives the service account its right, which it has".into()
        }
        Reason::LogShippingDiffers => {
            for side in Side::BOTH {
                act(s, &Act::RemoveShipping(side));
            }
            "removes what is left of log shipping".into()
        }
        Reason::SourceAlive | Reason::SplitBrain => {
            act(s, &Act::Lose);
            "fences the primary".into()
        }
        Reason::CentralManagementDown => {
            act(s, &Act::MoveCentralManagement);
            "moves the Central Management store".into()
        }
        Reason::ActiveDataCenterDrifted if asks_for(s, who) == Some(end) => {
            edits::change(s, who, Change::Utter);
            "says anew what is wanted".into()
        }
        Reason::ActiveDataCenterDrifted => {
            want(s, who, end);
            "sets activeDataCenter to what is wanted".into()
        }
        Reason::DiskFull => {
            act(s, &Act::DiskFull(false));
            act(s, &Act::CopyFolderFull(false));
            "makes room".into()
        }
        Reason::LoginRefused => {
            act(s, &Act::RefuseLogin(false));
            "lets the login in again".into()
        }
        _ if problem.class == Class::Retry => return Some(String::new()),
        _ => return None,
    };
    s.tell(&format!("the human on call of operator {who} {done}"));
    Some(done)
}
