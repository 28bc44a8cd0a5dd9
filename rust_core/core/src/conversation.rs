//! Who stands beside whom: the memories of one session in the order of their positions.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use rustc_hash::FxHashMap;

use crate::interner::{ABSENT, StringId};

/// The strings that make a session one: user, agent and session, numbers of the field columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// `ABSENT` for none.
    pub user_id: StringId,
    /// `ABSENT` for none.
    pub agent_id: StringId,
    /// Not `ABSENT`, or there is no session.
    pub session_id: StringId,
}

/// Position first (those without one come last), then order of insertion.
type Order = (i64, u64, u32);

/// No slot.
const NONE: u32 = u32::MAX;

/// The sessions of a namespace. A change costs the logarithm of the session's length; reading follows links.
#[derive(Default)]
pub struct Conversations {
    sessions: FxHashMap<Session, BTreeSet<Order>>,
    /// By slot.
    places: Vec<Option<(Session, Order)>>,
    /// By slot: the one before and the one behind; `NONE` at the ends.
    links: Vec<[u32; 2]>,
    inserted: u64,
}

impl Conversations {
    /// Put a slot into its session, out of the one it was in. One that stays where it was keeps its turn.
    pub fn insert(&mut self, slot: u32, session: Session, position: Option<i64>) {
        let position = position.unwrap_or(i64::MAX);
        if self.place(slot).is_some_and(|(known, order)| *known == session && order.0 == position) {
            return;
        }
        self.remove(slot);
        if session.session_id == ABSENT {
            return;
        }
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, None);
            self.links.resize(slot as usize + 1, [NONE; 2]);
        }
        let order = (position, self.inserted, slot);
        self.inserted += 1;
        self.places[slot as usize] = Some((session, order));
        let orders = self.sessions.entry(session).or_default();
        let before = orders.range(..order).next_back().map_or(NONE, |o| o.2);
        let behind = orders.range((Excluded(order), Unbounded)).next().map_or(NONE, |o| o.2);
        orders.insert(order);
        self.link(before, slot);
        self.link(slot, behind);
    }

    /// Let one follow the other; either may be `NONE`.
    fn link(&mut self, before: u32, behind: u32) {
        if let Some(links) = self.links.get_mut(before as usize) {
            links[1] = behind;
        }
        if let Some(links) = self.links.get_mut(behind as usize) {
            links[0] = before;
        }
    }

    /// Take a slot out of its session.
    pub fn remove(&mut self, slot: u32) {
        let Some((session, order)) = self.places.get_mut(slot as usize).and_then(Option::take) else { return };
        if let Some(orders) = self.sessions.get_mut(&session) {
            orders.remove(&order);
            if orders.is_empty() {
                self.sessions.remove(&session);
            }
        }
        let [before, behind] = std::mem::replace(&mut self.links[slot as usize], [NONE; 2]);
        self.link(before, behind);
    }

    fn place(&self, slot: u32) -> Option<&(Session, Order)> {
        self.places.get(slot as usize)?.as_ref()
    }

    /// The slots two before, one before, one behind and two behind.
    pub fn beside(&self, slot: u32) -> [Option<u32>; 4] {
        let step = |slot: u32, side: usize| self.links.get(slot as usize).map_or(NONE, |links| links[side]);
        let (before, behind) = (step(slot, 0), step(slot, 1));
        [step(before, 0), before, behind, step(behind, 1)].map(|near| (near != NONE).then_some(near))
    }

    /// Keep no room for more, where that matters: in a small index.
    pub fn shrink_to_fit(&mut self) {
        self.sessions.shrink_to_fit();
        self.places.shrink_to_fit();
        self.links.shrink_to_fit();
    }

    /// Estimate of the heap it holds.
    pub fn memory_bytes(&self) -> usize {
        // A node of a BTreeSet is half to entirely full.
        let orders: usize = self.sessions.values().map(BTreeSet::len).sum();
        self.places.capacity() * (size_of::<Option<(Session, Order)>>() + 8)
            + orders * 36
            + self.sessions.capacity() * 48
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(number: u32) -> Session {
        Session { user_id: ABSENT, agent_id: 7, session_id: number }
    }

    proptest! {
        #[test]
        fn neighbours_are_those_of_a_sorted_list(
            changes in proptest::collection::vec((0u32..12, proptest::option::weighted(0.8, (0u32..3, proptest::option::of(-2i64..4)))), 0..60),
        ) {
            let mut conversations = Conversations::default();
            // Slot, session, position, turn of insertion.
            let mut model: Vec<(u32, u32, Option<i64>, usize)> = Vec::new();
            for (turn, (slot, change)) in changes.into_iter().enumerate() {
                let known = model.iter().position(|m| m.0 == slot);
                match change {
                    Some((number, position)) => {
                        conversations.insert(slot, session(number), position);
                        let same = known.is_some_and(|at| (model[at].1, model[at].2) == (number, position));
                        if !same {
                            model.retain(|m| m.0 != slot);
                            model.push((slot, number, position, turn));
                        }
                    }
                    None => {
                        conversations.remove(slot);
                        model.retain(|m| m.0 != slot);
                    }
                }
            }
            model.sort_by_key(|m| (m.1, m.2.is_none(), m.2, m.3));
            for (at, m) in model.iter().enumerate() {
                let other = |offset: isize| {
                    let other = model.get(at.checked_add_signed(offset)?)?;
                    (other.1 == m.1 && m.1 != ABSENT).then_some(other.0)
                };
                let first = |near: Option<u32>, far: Option<u32>| near.and(far);
                let expected = [first(other(-1), other(-2)), other(-1), other(1), first(other(1), other(2))];
                prop_assert_eq!(conversations.beside(m.0), expected);
            }
            prop_assert_eq!(conversations.beside(99), [None; 4]);
        }
    }
}
