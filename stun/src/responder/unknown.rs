//! The list in a 420.

use crate::message::AttributeType;

/// How many a 420 names at most: with more, an answer could outgrow a cheap request.
const UNKNOWN_ATTRIBUTES_MAX: usize = 8;

/// The first few different attribute types that were not understood.
#[derive(Debug)]
pub(super) struct UnknownAttributes {
    kinds: [AttributeType; UNKNOWN_ATTRIBUTES_MAX],
    count: usize,
}

impl Default for UnknownAttributes {
    fn default() -> Self {
        Self { kinds: [AttributeType::new(0); UNKNOWN_ATTRIBUTES_MAX], count: 0 }
    }
}

impl From<AttributeType> for UnknownAttributes {
    fn from(kind: AttributeType) -> Self {
        let mut unknown = Self::default();
        unknown.note(kind);
        unknown
    }
}

impl UnknownAttributes {
    /// Adds a type, unless it is there already or the list is full.
    pub(super) fn note(&mut self, kind: AttributeType) {
        if self.as_slice().contains(&kind) {
            return;
        }
        if let Some(free) = self.kinds.get_mut(self.count) {
            *free = kind;
            self.count += 1;
        }
    }

    /// The types, in the order of the request.
    pub(super) fn as_slice(&self) -> &[AttributeType] {
        self.kinds.get(..self.count).unwrap_or_default()
    }

    /// With an even number of types: RFC 3489 pads the list by naming one of them twice (section 11.2.10).
    pub(super) fn evened(mut self) -> Self {
        if let (1, Some(last)) = (self.count % 2, self.as_slice().last().copied())
            && let Some(free) = self.kinds.get_mut(self.count)
        {
            *free = last;
            self.count += 1;
        }
        self
    }
}
