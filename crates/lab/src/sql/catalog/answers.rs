//! What was answered: asked the same again while nothing has changed that it depends on, SQLite need not be asked.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::Selected;
use super::rewrite::{Rewritten, make_room};
use crate::tsql::Cell;

/// Answers to statements, by their numbers.
#[derive(Default)]
pub(super) struct Answers(RefCell<HashMap<u64, Vec<Answer>>>);

/// How many answers to one statement are kept, for different values of its variables: as many as a pool has servers.
const EACH: usize = 4;

struct Answer {
    /// Values of the variables that the statement mentions.
    variables: Vec<Option<Cell>>,
    /// What it was answered from.
    stamp: Vec<u64>,
    selected: Selected,
}

impl Answers {
    /// The answer to a statement, if it was given before with these variables from the same.
    pub(super) fn find(
        &self,
        asked: &Rewritten,
        variables: &BTreeMap<String, Cell>,
        stamp: &[u64],
    ) -> Option<Selected> {
        let kept = self.0.borrow();
        let same = |a: &&Answer| {
            a.stamp == stamp
                && a.variables
                    .iter()
                    .zip(&asked.variables)
                    .all(|(kept, name)| kept.as_ref() == variables.get(name))
        };
        kept.get(&asked.number)?.iter().find(same).map(|a| a.selected.clone())
    }

    /// Keeps an answer, instead of the oldest one.
    pub(super) fn keep(
        &self,
        asked: &Rewritten,
        variables: &BTreeMap<String, Cell>,
        stamp: Vec<u64>,
        selected: &Selected,
    ) {
        let mut all = self.0.borrow_mut();
        make_room(&mut all);
        let kept = all.entry(asked.number).or_default();
        if kept.len() >= EACH {
            kept.remove(0);
        }
        let variables = asked.variables.iter().map(|name| variables.get(name).cloned()).collect();
        kept.push(Answer { variables, stamp, selected: selected.clone() });
    }
}
