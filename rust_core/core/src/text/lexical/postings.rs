//! The inverted lists: by term, the documents that have it.
//!
//! While there are few documents there are no lists: looking at every document takes no longer than finding them, and in a
//! small namespace most terms occur once, so that their lists would take more memory than all the rest.

use super::{DocTerm, Document};
use crate::interner::{Interner, StringId};

/// Documents up to which all are looked at.
const FEW_DOCUMENTS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct Posting {
    pub slot: u32,
    pub count: u32,
}

/// By term number - 1; None while there are few documents.
#[derive(Default)]
pub struct Postings(Option<Vec<Vec<Posting>>>);

impl Postings {
    /// The documents that have a term, in no order; None when all are to be looked at.
    pub fn of(&self, term: StringId) -> Option<&[Posting]> {
        self.0.as_ref().map(|lists| &lists[term as usize - 1][..])
    }

    /// Whether there are lists.
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// A document has a term; where its posting stands.
    pub fn push(&mut self, term: StringId, posting: Posting) -> u32 {
        let Some(lists) = &mut self.0 else { return 0 };
        if lists.len() < term as usize {
            lists.resize_with(term as usize, Vec::new);
        }
        let list = &mut lists[term as usize - 1];
        list.push(posting);
        list.len() as u32 - 1
    }

    /// Take a posting out. The document of the one that moved to its place.
    pub fn take(&mut self, entry: DocTerm) -> Option<u32> {
        let list = &mut self.0.as_mut()?[entry.term as usize - 1];
        list.swap_remove(entry.position as usize);
        if list.is_empty() {
            *list = Vec::new();
        }
        list.get(entry.position as usize).map(|moved| moved.slot)
    }

    /// Make the lists when there are more than few documents.
    pub fn keep_up(&mut self, count: usize, documents: &mut [Document], terms: &Interner) {
        if count > FEW_DOCUMENTS && !self.are_kept() {
            self.make(documents, terms);
        }
    }

    /// Make the lists.
    pub fn make(&mut self, documents: &mut [Document], terms: &Interner) {
        let mut lists: Vec<Vec<Posting>> = terms.users().map(|users| Vec::with_capacity(users as usize)).collect();
        for (slot, document) in (0..).zip(documents) {
            for entry in &mut document.terms {
                let list = &mut lists[entry.term as usize - 1];
                entry.position = list.len() as u32;
                list.push(Posting { slot, count: entry.count });
            }
        }
        self.0 = Some(lists);
    }

    pub fn memory_bytes(&self) -> usize {
        let Some(lists) = &self.0 else { return 0 };
        let postings: usize = lists.iter().map(Vec::capacity).sum();
        lists.capacity() * size_of::<Vec<Posting>>() + postings * size_of::<Posting>()
    }
}
