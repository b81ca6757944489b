//! What happens in a night, drawn from chance. The order of what is drawn is part of what a seed means.

use persistent_chat_failover::domain::side::Side;

use super::confusion::Confusion;
use super::{Act, Hand, Script};
use crate::chance::Chance;
use crate::plan::Kind;

/// A night without anything else going wrong: what the exhaustive runs vary.
pub fn plain(kind: Kind, begins: Side, operators: usize) -> Script {
    let there = begins.other();
    let all = |when: f64, side: Side| (0..operators).map(move |who| (when, Act::Want(who, side)));
    let lost = [(3.0, Act::Lose), (3.0, Act::MoveCentralManagement)].into_iter().chain(all(4.0, there));
    match kind {
        Kind::Failover => lost.collect(),
        Kind::Undo => lost.chain(all(9.0, begins)).chain([(14.0, Act::Return)]).collect(),
        Kind::Switch => all(4.0, there).collect(),
        Kind::SwitchUndone => all(4.0, there).chain(all(9.0, begins)).collect(),
        Kind::Align => vec![(3.0, Act::ActiveByHand(begins)), (3.0, Act::Unmirror(begins))],
        Kind::Return => lost.chain([(25.0, Act::Return)]).collect(),
        Kind::Failback => lost.chain([(25.0, Act::Return)]).chain(all(30.0, begins)).collect(),
        Kind::Protect => vec![(3.0, Act::RemoveShipping(begins)), (3.0, Act::RemoveShipping(there))],
    }
}

/// A bad night, drawn from chance.
pub fn bad_night(chance: &mut Chance, begins: Side, stays: bool, operators: usize) -> Script {
    let there = begins.other();
    let mut night =
        Drawn { chance, from: begins, to: there, end: if stays { begins } else { there }, script: vec![] };
    let loss = night.at(4, 12);
    night.then(loss, Act::Lose);
    // Moved beforehand, at once, or late.
    let moved = if night.chance.happens(150) { night.at(1, 4) } else { loss + night.at(0, 45) };
    night.then(moved, Act::MoveCentralManagement);
    for who in 0..operators {
        let wanted = if night.chance.happens(200) { night.at(1, 12) } else { loss + night.at(0, 15) };
        night.want(wanted, who, there);
        if stays {
            let back = wanted + night.at(2, 25);
            night.want(back, who, begins);
        }
        night.befall_operator(who, wanted, operators);
        night.befall_cluster(who, wanted);
        if night.chance.happens(100) {
            let when = night.at(1, 50);
            night.then(when, Act::KillOperator(who));
        }
    }
    night.come_back(loss);
    night.hamper();
    night.strike(loss);
    if stays {
        let last = night.script.iter().filter(|(_, a)| *a == Act::Lose).map(|(t, _)| *t).fold(loss, f64::max);
        let back = last + night.at(2, 45);
        night.then(back, Act::Return);
    } else {
        night.work_by_hand(loss);
    }
    night.disturb(loss);
    night.confuse(loss);
    if night.chance.happens(300) {
        // Before the loss or after it: until somebody leaves STANDBY nobody misses it.
        let when = night.chance.between(0, 2000) as f64 / 1000.0 * loss;
        night.then(when, Act::LoseUndoFile);
    }
    night.script.sort_by(|a, b| a.0.total_cmp(&b.0));
    night.script
}

/// A night in which chat is to move while both sides live; either may be lost in the middle of it.
pub fn planned_night(chance: &mut Chance, begins: Side, stays: bool, operators: usize) -> Script {
    let there = begins.other();
    let mut night =
        Drawn { chance, from: begins, to: there, end: if stays { begins } else { there }, script: vec![] };
    let wanted = night.at(2, 8);
    for who in 0..operators {
        let when = wanted + night.at(0, 6);
        night.want(when, who, there);
        if stays {
            let back = when + night.at(2, 25);
            night.want(back, who, begins);
        }
        night.befall_operator(who, when, operators);
        night.befall_cluster(who, when);
        if night.chance.happens(150) {
            let when = night.at(1, 50);
            night.then(when, Act::KillOperator(who));
        }
    }
    night.lose_a_side(wanted);
    night.hamper();
    for (per_mille, act) in [
        (100, Act::KillSessions),
        (80, Act::KillRestore),
        (60, Act::OtherDatabase),
        (60, Act::Unfinished),
        (80, Act::ActiveByHand(begins)),
        (60, Act::Unmirror(begins)),
        (60, Act::RemoveShipping(there)),
        (50, Act::DisableJobs(begins)),
        (50, Act::DisableJobs(there)),
    ] {
        if night.chance.happens(per_mille) {
            let when = night.at(1, 45);
            night.then(when, act);
        }
    }
    if night.chance.happens(80) {
        night.then(0.5, Act::WillNotStop(begins, true));
        let until = night.at(5, 60);
        night.then(until, Act::WillNotStop(begins, false));
    }
    if night.chance.happens(100) {
        let when = night.at(1, 30);
        night.then(when, Act::Promote(begins));
        let up = when + night.at(1, 30);
        night.then(up, Act::StartSql(begins));
    }
    night.script.sort_by(|a, b| a.0.total_cmp(&b.0));
    night.script
}

/// A night in which the side that was lost comes back with its old database, chat goes back there or not, and the other side may be lost
/// as well.
pub fn returning_night(chance: &mut Chance, begins: Side, goes_back: bool, operators: usize) -> Script {
    let there = begins.other();
    let mut night = Drawn {
        chance,
        from: begins,
        to: there,
        end: if goes_back { begins } else { there },
        script: vec![],
    };
    let loss = night.at(3, 8);
    night.then(loss, Act::Lose);
    let moved = loss + night.at(0, 10);
    night.then(moved, Act::MoveCentralManagement);
    let back = loss + night.at(15, 60);
    night.then(back, Act::Return);
    for who in 0..operators {
        let wanted = loss + night.at(0, 8);
        night.want(wanted, who, there);
        if goes_back {
            let asked = back + night.at(1, 60);
            night.want(asked, who, begins);
        }
        for _ in 0..2 {
            if night.chance.happens(250) {
                let when = back + night.at(0, 60);
                night.then(when, Act::KillOperator(who));
            }
        }
        if night.chance.happens(80) {
            let from = back + night.at(0, 40);
            night.then(from, Act::Suspend(who, true));
            let until = from + night.at(5, 20);
            night.then(until, Act::Suspend(who, false));
        }
    }
    // Again, or the other one: before, in the middle of, or after the seed.
    if night.chance.happens(250) {
        let lost = back + night.at(1, 50);
        night.then(lost, Act::Lose);
        let again = lost + night.at(1, 30);
        night.then(again, Act::Return);
    }
    if night.chance.happens(150) {
        let lost = back + night.at(1, 60);
        night.then(lost, Act::LoseOther);
        let again = lost + night.at(1, 40);
        night.then(again, Act::ReturnOther);
    }
    for (per_mille, act) in [
        (150, Act::KillSessions),
        (100, Act::Promote(there)),
        (100, Act::RemoveShipping(there)),
        (100, Act::RemoveShipping(begins)),
        (80, Act::DisableJobs(there)),
        (80, Act::Unmirror(there)),
        (80, Act::ActiveByHand(there)),
    ] {
        if night.chance.happens(per_mille) {
            let when = back + night.at(0, 60);
            night.then(when, act);
        }
    }
    let up = back + night.at(60, 90);
    night.then(up, Act::StartSql(there));
    night.script.sort_by(|a, b| a.0.total_cmp(&b.0));
    night.script
}

/// Before anything is lost a cluster is set up anew from a manifest that asks for the other side: nobody has said that.
pub fn begin_with_a_first_sight(chance: &mut Chance, night: &mut Script, begins: Side, operators: usize) {
    let who = usize::try_from(chance.between(0, operators as u64)).unwrap_or(0);
    let lost = chance.between(200, 1500) as f64 / 1000.0;
    let anew = lost + chance.between(300, 1500) as f64 / 1000.0;
    night.push((lost, Act::LoseCluster(who)));
    night.push((anew, Act::Recreate(who, begins.other())));
    night.sort_by(|a, b| a.0.total_cmp(&b.0));
}

/// What is easily misread: before the loss and for some time after it, but for what lasts all night.
pub fn mislead(chance: &mut Chance, night: &mut Script, begins: Side) {
    let there = begins.other();
    let loss = night.iter().find_map(|(t, a)| (*a == Act::Lose).then_some(*t)).unwrap_or(0.0);
    for confusion in [Confusion::OtherInstance(there), Confusion::Unmounted(there)] {
        if chance.happens(80) {
            let from = chance.between(0, 900) as f64 / 1000.0 * loss;
            let until = loss + chance.between(3_000, 40_000) as f64 / 1000.0;
            night.push((from, Act::Confuse(confusion, true)));
            night.push((until, Act::Confuse(confusion, false)));
        }
    }
    if chance.happens(80) {
        let from = chance.between(0, 900) as f64 / 1000.0 * loss;
        night.push((from, Act::Confuse(Confusion::OtherRestore(there), true)));
    }
    if chance.happens(80) {
        let when = chance.between(0, 900) as f64 / 1000.0 * loss;
        night.push((when, Act::AddFile));
    }
    if chance.happens(80) {
        let from = chance.between(0, 900) as f64 / 1000.0 * loss;
        let until = loss + chance.between(30_000, 150_000) as f64 / 1000.0;
        night.push((from, Act::Confuse(Confusion::ChatHangs(there), true)));
        night.push((until, Act::Confuse(Confusion::ChatHangs(there), false)));
    }
    night.sort_by(|a, b| a.0.total_cmp(&b.0));
}

/// A night as far as it is drawn.
pub(super) struct Drawn<'a> {
    pub(super) chance: &'a mut Chance,
    pub(super) from: Side,
    pub(super) to: Side,
    /// Where chat is to be in the end.
    pub(super) end: Side,
    pub(super) script: Script,
}

impl Drawn<'_> {
    /// A moment between two seconds.
    pub(super) fn at(&mut self, from: u64, to: u64) -> f64 {
        self.chance.between(from * 1000, to * 1000) as f64 / 1000.0
    }

    pub(super) fn then(&mut self, when: f64, act: Act) {
        self.script.push((when, act));
    }

    /// A manifest is applied to the cluster of one operator.
    pub(super) fn want(&mut self, when: f64, who: usize, side: Side) {
        self.then(when, Act::Want(who, side));
    }

    /// What befalls one operator, and what it is told.
    fn befall_operator(&mut self, who: usize, wanted: f64, operators: usize) {
        if self.chance.happens(100) {
            // A Git revert; mended some time later.
            let back = wanted + self.at(1, 40);
            self.want(back, who, self.end.other());
            let mended = back + self.at(5, 20);
            self.want(mended, who, self.end);
        }
        if self.chance.happens(80) {
            let from = wanted + self.at(0, 40);
            self.then(from, Act::Suspend(who, true));
            let until = from + self.at(5, 20);
            self.then(until, Act::Suspend(who, false));
        }
        for _ in 0..2 {
            if self.chance.happens(60) {
                let when = self.at(0, 60);
                let seconds = self.chance.between(0, 600) as i64 - 300;
                self.then(when, Act::Skew(who, seconds));
            }
        }
        if self.chance.happens(80) {
            let (when, seconds) = (self.at(1, 50), self.at(1, 15));
            self.then(when, Act::WatchGap(who, seconds));
        }
        if self.chance.happens(100) {
            let from = self.at(1, 50);
            self.then(from, Act::ApiServer(who, false));
            // For ever only where another operator can still be told what is wanted.
            if operators == 1 || who == 0 || self.chance.happens(600) {
                let until = from + self.at(3, 30);
                self.then(until, Act::ApiServer(who, true));
            }
        }
    }

    /// What befalls the cluster of one operator.
    fn befall_cluster(&mut self, who: usize, wanted: f64) {
        if self.chance.happens(50) {
            let when = wanted + self.at(0, 40);
            let seconds = self.at(1, 40);
            self.then(when, Act::RollBack(who, seconds));
            let mended = when + self.at(5, 20);
            self.want(mended, who, self.end);
        }
        if self.chance.happens(60) {
            let when = wanted + self.at(0, 40);
            self.then(when, Act::LoseCluster(who));
            let anew = when + self.at(2, 20);
            let manifest = if self.chance.happens(500) { self.from } else { self.to };
            self.then(anew, Act::Recreate(who, manifest));
            // Somebody mends the old manifest, sooner or later.
            let mended = anew + self.at(3, 20);
            self.want(mended, who, self.end);
        }
    }

    /// The side that was lost comes back, and is lost again.
    fn come_back(&mut self, loss: f64) {
        if self.chance.happens(250) {
            let mut back = loss;
            for _ in 0..self.chance.between(1, 4) {
                back += self.at(1, 25);
                self.then(back, Act::Return);
                back += self.at(1, 15);
                self.then(back, Act::Lose);
            }
        }
    }

    /// One of the sides is lost when chat is moving, or just before or after that.
    fn lose_a_side(&mut self, wanted: f64) {
        if self.chance.happens(250) {
            let lost = wanted + self.at(0, 30);
            self.then(lost, Act::Lose);
            let moved = lost + self.at(0, 20);
            self.then(moved, Act::MoveCentralManagement);
            let back = lost + self.at(1, 40);
            self.then(back, Act::Return);
        }
        if self.chance.happens(200) {
            let lost = wanted + self.at(0, 30);
            self.then(lost, Act::LoseOther);
            let back = lost + self.at(1, 40);
            self.then(back, Act::ReturnOther);
        }
    }

    /// What is in everybody's way for a while.
    fn hamper(&mut self) {
        for (per_mille, on, off) in [
            (60, Act::HoldJobs(true), Act::HoldJobs(false)),
            (50, Act::DiskFull(true), Act::DiskFull(false)),
            (50, Act::CopyFolderFull(true), Act::CopyFolderFull(false)),
            (50, Act::RefuseLogin(true), Act::RefuseLogin(false)),
        ] {
            if self.chance.happens(per_mille) {
                let from = self.at(1, 35);
                self.then(from, on);
                let until = from + self.at(2, 25);
                self.then(until, off);
            }
        }
    }

    /// What happens once, some time after the loss.
    fn strike(&mut self, loss: f64) {
        for (per_mille, act) in [
            (100, Act::KillSessions),
            (100, Act::KillSessions),
            (80, Act::KillRestore),
            (80, Act::KillRestore),
            (60, Act::LateBackup),
            (60, Act::RescuedTail),
            (80, Act::OtherDatabase),
            (60, Act::Unfinished),
        ] {
            if self.chance.happens(per_mille) {
                let when = loss + self.at(0, 45);
                self.then(when, act);
            }
        }
    }

    /// Most nights nobody is at work by hand; in the others often more than once.
    fn work_by_hand(&mut self, loss: f64) {
        if self.chance.happens(250) {
            for _ in 0..self.chance.between(1, 4) {
                let hand = Hand::ALL.get(usize::try_from(self.chance.between(0, 7)).unwrap_or(0)).copied();
                let when = loss + self.at(0, 45);
                self.script.extend(hand.map(|h| (when, Act::ByHand(h))));
            }
        }
    }

    /// What is as the resource says is changed by somebody, before the loss or some time after it.
    fn disturb(&mut self, loss: f64) {
        for (per_mille, act) in [
            (80, Act::ActiveByHand(self.from)),
            (50, Act::Unmirror(self.from)),
            (50, Act::RemoveShipping(self.to)),
            (50, Act::DisableJobs(self.to)),
        ] {
            if self.chance.happens(per_mille) {
                let when = self.chance.between(0, 1000) as f64 / 1000.0 * loss;
                self.then(when, act);
            }
        }
        for (per_mille, act) in [
            (80, Act::ActiveByHand(self.end)),
            (60, Act::Unmirror(self.end)),
            (60, Act::RemoveShipping(self.end)),
            (60, Act::RemoveShipping(self.end.other())),
            (50, Act::DisableJobs(self.end)),
        ] {
            if self.chance.happens(per_mille) {
                let when = loss + self.at(20, 90);
                self.then(when, act);
            }
        }
        if self.chance.happens(100) {
            let when = loss + self.at(20, 90);
            self.then(when, Act::Promote(self.end));
            let up = when + self.at(1, 30);
            self.then(up, Act::StartSql(self.end));
        }
    }

    /// What makes it hard to say who lives: before the loss and around it, each for a while.
    fn confuse(&mut self, loss: f64) {
        if self.chance.happens(150) {
            let walled = self.chance.happens(600);
            let silent =
                if walled { Confusion::SilentBehindAWall } else { Confusion::SilentPorts }(self.from);
            let from = self.chance.between(0, 300) as f64 / 1000.0 * loss;
            self.then(from, Act::Confuse(silent, true));
            if self.chance.happens(600) {
                // Somebody takes it for dead.
                let wanted = from + self.at(0, 1);
                self.want(wanted, 0, self.to);
            }
            let until = from + self.at(3, 40);
            self.then(until, Act::Confuse(silent, false));
        }
        for (per_mille, confusion) in [
            (60, Confusion::Unresolved(self.from)),
            (60, Confusion::NoTestNetConnection),
            (60, Confusion::NoTestCsDatabase),
        ] {
            if self.chance.happens(per_mille) {
                let from = self.chance.between(0, 1500) as f64 / 1000.0 * loss;
                self.then(from, Act::Confuse(confusion, true));
                let until = from + self.at(3, 40);
                self.then(until, Act::Confuse(confusion, false));
            }
        }
        if self.chance.happens(60) {
            let runs = u32::try_from(self.chance.between(1, 4)).unwrap_or(1);
            let when = loss + self.at(0, 10);
            self.then(when, Act::MirrorWarns(runs));
        }
    }
}
